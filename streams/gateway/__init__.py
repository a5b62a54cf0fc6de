"""Feedback over HTTP, for services without a Kafka client."""
