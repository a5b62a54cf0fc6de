"""State machines of what is done about a model."""
