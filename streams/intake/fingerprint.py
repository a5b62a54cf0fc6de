"""128-bit fingerprints of a column of strings, without making a Python object of any of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Words = NDArray[np.uint64]

# Odd constants with well mixed bits (from SplitMix64 and xxHash64): one pair of (seed, multiplier) for each half.
_LOW = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_HIGH = (np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x94D049BB133111EB))
_SHIFT = np.uint64(32)
_LENGTH = np.uint64(0x165667B19E3779F9)


class Fingerprints(NamedTuple):
    """Two 64-bit halves of a row's fingerprint each; `low` alone is well mixed and serves as a hash."""

    low: Words
    high: Words

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Fingerprints:
        """Return those of some rows."""
        return Fingerprints(self.low[rows], self.high[rows])


def fingerprints(column: pa.StringArray) -> Fingerprints:
    """Return the fingerprint of every string; nulls count as empty.

    The strings are hashed in words of 8 bytes, all rows of equal length at once. Two of a million different ids
    meet with a probability of about 1e-27. It is no cryptographic hash: who makes ids at will can make two that meet,
    and only harms their own events by it.
    """
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    buffer = column.buffers()[2]
    data = np.frombuffer(buffer, np.uint8) if buffer is not None else np.empty(0, np.uint8)
    lengths = np.diff(offsets)
    if len(lengths) and (lengths == lengths[0]).all():
        return _hash(_words(data, offsets[:-1], int(lengths[0])), int(lengths[0]))
    found = Fingerprints(np.empty(len(column), np.uint64), np.empty(len(column), np.uint64))
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        starts = offsets[:-1][rows]
        found.low[rows], found.high[rows] = _hash(_words(data, starts, length), length)
    return found


def _words(data: NDArray[np.uint8], starts: NDArray[np.int32], length: int) -> Words:
    """Return the bytes of equally long strings as words, zero-padded, shape (words, rows)."""
    padded = np.zeros((len(starts), -(-length // 8) * 8), np.uint8)
    if len(starts) and starts[-1] - starts[0] == length * (len(starts) - 1):
        first = int(starts[0])
        padded[:, :length] = data[first : first + length * len(starts)].reshape(len(starts), length)
    else:
        padded[:, :length] = np.lib.stride_tricks.sliding_window_view(data, length)[starts] if length else 0
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _hash(words: Words, length: int) -> Fingerprints:
    halves = []
    for seed, multiplier in (_LOW, _HIGH):
        state = np.full(words.shape[1], seed ^ np.uint64(length * int(_LENGTH) & (2**64 - 1)), np.uint64)
        for word in words:
            state ^= word
            state *= multiplier
            state ^= state >> _SHIFT
        state *= seed
        state ^= state >> _SHIFT
        halves.append(state)
    return Fingerprints(*halves)
