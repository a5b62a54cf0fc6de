"""Contextual bandits: what to choose, with which probability, and what each choice is worth."""
