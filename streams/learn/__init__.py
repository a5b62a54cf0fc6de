"""Examples in, versions of a model out: evaluate, learn, publish, and go back when told to."""
