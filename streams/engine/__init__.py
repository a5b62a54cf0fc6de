"""The engine: brokers, blocks, stages, and the loop that joins them."""
