"""Compiled loops for stages: those of `learners.compiled`."""

from rheostat.learners.compiled import BOOLS, BYTES, FLOATS, INTS, LONGS, WORDS, compiled, read_only

__all__ = ["BOOLS", "BYTES", "FLOATS", "INTS", "LONGS", "WORDS", "compiled", "read_only"]
