"""128-bit fingerprints of a column of strings, without making a Python object of any of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, LONGS, compiled
from rheostat.streams.intake.strings import bytes_of, offsets_of

Longs = NDArray[np.int64]
Words = NDArray[np.uint64]

# Odd constants with well mixed bits (from SplitMix64 and xxHash64), one of each for each half.
_SEED_LOW, _SEED_HIGH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_FACTOR_LOW, _FACTOR_HIGH = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LENGTH = np.uint64(0x165667B19E3779F9)
_HALF = np.uint64(32)


class Fingerprints(NamedTuple):
    """Two 64-bit halves of a row's fingerprint each; `low` alone is well mixed and serves as a hash."""

    low: Words
    high: Words

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Fingerprints:
        """Return those of some rows."""
        return Fingerprints(self.low[rows], self.high[rows])


def fingerprints(column: pa.StringArray) -> Fingerprints:
    """Return the fingerprint of every string; nulls count as empty.

    The strings are hashed in words of 8 bytes, the last one filled up with zeros. Two of a million different ids
    meet with a probability of about 1e-27. It is no cryptographic hash: who makes ids at will can make two that meet,
    and only harms their own events by it.
    """
    offsets = offsets_of(column)
    low, high = np.empty((2, len(offsets) - 1), np.uint64)
    _hash(bytes_of(column), offsets, low, high)
    return Fingerprints(low, high)


def fingerprints_at(data: NDArray[np.uint8], begins: Longs, ends: Longs) -> Fingerprints:
    """Return the fingerprint of every string that lies between these places."""
    low, high = np.empty((2, len(begins)), np.uint64)
    _hash_at(data, begins, ends, low, high)
    return Fingerprints(low, high)


_TWO_WORDS = types.Tuple((types.uint64, types.uint64))  # type: ignore[no-untyped-call]


@compiled(types.uint64(BYTES, types.uint64))
def _pair(data: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    return np.uint64(data[at]) | np.uint64(data[at + np.uint64(1)]) << np.uint64(8)


@compiled(_TWO_WORDS(types.uint64, types.uint64, types.uint64))
def _mixed(one: np.uint64, two: np.uint64, word: np.uint64) -> tuple[np.uint64, np.uint64]:
    one = (one ^ word) * _FACTOR_LOW
    two = (two ^ word) * _FACTOR_HIGH
    return one ^ (one >> _HALF), two ^ (two >> _HALF)


@compiled(_TWO_WORDS(BYTES, types.int64, types.int64))
def hashed(data: NDArray[np.uint8], begin: int, end: int) -> tuple[np.uint64, np.uint64]:
    """Return the fingerprint of some bytes."""
    length = np.uint64(end - begin) * _LENGTH
    one, two = _SEED_LOW ^ length, _SEED_HIGH ^ length
    # Whole words without a loop and with unsigned places, so that eight bytes are read at once.
    at = np.uint64(begin)
    for _ in range((end - begin) >> 3):
        word = _pair(data, at) | _pair(data, at + np.uint64(2)) << np.uint64(16)
        word |= (_pair(data, at + np.uint64(4)) | _pair(data, at + np.uint64(6)) << np.uint64(16)) << _HALF
        one, two = _mixed(one, two, word)
        at += np.uint64(8)
    if (end - begin) & 7:
        word = np.uint64(0)
        for place in range((end - begin) & 7):
            word |= np.uint64(data[at + np.uint64(place)]) << np.uint64(8 * place)
        one, two = _mixed(one, two, word)
    one *= _SEED_LOW
    two *= _SEED_HIGH
    return one ^ (one >> _HALF), two ^ (two >> _HALF)


@compiled(types.void(BYTES, INTS, types.uint64[::1], types.uint64[::1]))
def _hash(data: NDArray[np.uint8], offsets: NDArray[np.int32], low: Words, high: Words) -> None:
    for row in range(len(low)):
        low[row], high[row] = hashed(data, offsets[row], offsets[row + 1])


@compiled(types.void(BYTES, LONGS, LONGS, types.uint64[::1], types.uint64[::1]))
def _hash_at(data: NDArray[np.uint8], begins: Longs, ends: Longs, low: Words, high: Words) -> None:
    for row in range(len(low)):
        low[row], high[row] = hashed(data, begins[row], ends[row])
