"""Serving: follow the models topic, answer requests, log predictions, say what runs."""
