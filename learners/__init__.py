"""Learners: what is learned from batches, what serves it, and what watches it. No Kafka, no clock, no files."""
