"""Learners in torch: a small network over embeddings and numbers, and any module of torch."""
