"""128-bit fingerprints of a column of strings, without making a Python object of any of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.streams.intake.strings import bytes_of, offsets_of

Words = NDArray[np.uint64]

# Odd constants with well mixed bits (from SplitMix64 and xxHash64), one for each half.
_SEEDS = np.array([[0x9E3779B97F4A7C15], [0xC2B2AE3D27D4EB4F]], np.uint64)
_MULTIPLIERS = np.array([[0xBF58476D1CE4E5B9], [0x94D049BB133111EB]], np.uint64)
_SHIFT = np.uint64(32)
_LENGTH = np.uint64(0x165667B19E3779F9)
_ALL_BITS = np.uint64(2**64 - 1)


class Fingerprints(NamedTuple):
    """Two 64-bit halves of a row's fingerprint each; `low` alone is well mixed and serves as a hash."""

    low: Words
    high: Words

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Fingerprints:
        """Return those of some rows."""
        return Fingerprints(self.low[rows], self.high[rows])


def fingerprints(column: pa.StringArray) -> Fingerprints:
    """Return the fingerprint of every string; nulls count as empty.

    The strings are hashed in words of 8 bytes, all rows of equally many words at once. Two of a million different ids
    meet with a probability of about 1e-27. It is no cryptographic hash: who makes ids at will can make two that meet,
    and only harms their own events by it.
    """
    offsets = offsets_of(column)
    begin, end = int(offsets[0]), int(offsets[-1])
    lengths = offsets[1:] - offsets[:-1]
    if not len(lengths):
        return Fingerprints(np.empty(0, np.uint64), np.empty(0, np.uint64))
    words = (lengths + 7) >> 3
    most, least = int(words.max()), int(words.min())
    data = np.zeros(end - begin + 8 * most, np.uint8)
    data[: end - begin] = bytes_of(column, begin, end)
    starts = offsets[:-1] - begin
    if most == least:
        return Fingerprints(*_hash(_words(data, starts, lengths, most), lengths))
    found = np.empty((2, len(lengths)), np.uint64)
    for count in np.flatnonzero(np.bincount(words)).tolist():
        rows = np.flatnonzero(words == count)
        found[:, rows] = _hash(_words(data, starts[rows], lengths[rows], count), lengths[rows])
    return Fingerprints(*found)


def _words(data: NDArray[np.uint8], starts: NDArray[np.int32], lengths: NDArray[np.int32], count: int) -> Words:
    """Return strings as `count` words each, zero-padded, shape (count, rows); `data` goes on for as long behind."""
    if not count:
        return np.empty((0, len(starts)), np.uint64)
    size = 8 * count
    anywhere: NDArray[np.void] = np.ndarray(len(data) - size + 1, f"V{size}", data, 0, (1,))
    words = np.ascontiguousarray(anywhere[starts].view(np.uint64).reshape(len(starts), count).T)
    words[-1] &= _ALL_BITS >> (8 * (size - lengths)).astype(np.uint64)
    return words


def _hash(words: Words, lengths: NDArray[np.int32]) -> Words:
    """Return both halves, shape (2, rows)."""
    state = _SEEDS ^ lengths.astype(np.uint64) * _LENGTH
    for word in words:
        state ^= word
        state *= _MULTIPLIERS
        state ^= state >> _SHIFT
    state *= _SEEDS
    state ^= state >> _SHIFT
    return state
