"""Feedback meets the prediction it is about: examples to learn from."""
