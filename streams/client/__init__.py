"""What a service uses to send feedback; needs the base install only."""
