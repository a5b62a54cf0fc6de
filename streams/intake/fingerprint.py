"""128-bit fingerprints of a column of strings, without making a Python object of any of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, compiled
from rheostat.streams.intake.strings import bytes_of, offsets_of

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


@compiled(types.void(BYTES, INTS, types.uint64[::1], types.uint64[::1]))
def _hash(data: NDArray[np.uint8], offsets: NDArray[np.int32], low: Words, high: Words) -> None:
    for row in range(len(low)):
        begin, end = offsets[row], offsets[row + 1]
        length = np.uint64(end - begin) * _LENGTH
        one, two = _SEED_LOW ^ length, _SEED_HIGH ^ length
        for start in range(begin, end, 8):
            word = np.uint64(0)
            for at in range(min(8, end - start)):
                word |= np.uint64(data[start + at]) << np.uint64(8 * at)
            one = (one ^ word) * _FACTOR_LOW
            one ^= one >> _HALF
            two = (two ^ word) * _FACTOR_HIGH
            two ^= two >> _HALF
        one *= _SEED_LOW
        two *= _SEED_HIGH
        low[row], high[row] = one ^ (one >> _HALF), two ^ (two >> _HALF)
