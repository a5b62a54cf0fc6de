"""Brokers on this machine, for development and tests."""
