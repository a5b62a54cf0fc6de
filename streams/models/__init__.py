"""Versions of models on the log: signed updates, applied one by one, and signed commands."""
