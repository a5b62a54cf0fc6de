"""Measurements of throughput and freshness, and a comparison with other stream processors."""
