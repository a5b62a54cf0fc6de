"""128-bit fingerprints of a column of strings, without making a Python object of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, LONGS, compiled
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


def leading_fingerprints(values: Sequence[bytes | None], header: bytes) -> Fingerprints | None:
    """Return the fingerprints of the first fields of Avro records, strings, without decoding anything.

    Each value must begin with `header`; None if one does not, or has no such field.
    """
    if None in values:
        return None
    data = np.frombuffer(b"".join(values), np.uint8)  # type: ignore[arg-type]
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))  # type: ignore[arg-type]
    low, high = np.empty((2, len(values)), np.uint64)
    return Fingerprints(low, high) if _hash_first(data, ends, np.frombuffer(header, np.uint8), low, high) else None


_TWO_WORDS = types.Tuple((types.uint64, types.uint64))  # type: ignore[no-untyped-call]


@compiled(_TWO_WORDS(BYTES, types.int64, types.int64))
def _hashed(data: NDArray[np.uint8], begin: int, end: int) -> tuple[np.uint64, np.uint64]:
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
    return one ^ (one >> _HALF), two ^ (two >> _HALF)


@compiled(types.void(BYTES, INTS, types.uint64[::1], types.uint64[::1]))
def _hash(data: NDArray[np.uint8], offsets: NDArray[np.int32], low: Words, high: Words) -> None:
    for row in range(len(low)):
        low[row], high[row] = _hashed(data, offsets[row], offsets[row + 1])


@compiled(types.boolean(BYTES, LONGS, BYTES, types.uint64[::1], types.uint64[::1]))
def _hash_first(
    data: NDArray[np.uint8], ends: NDArray[np.int64], header: NDArray[np.uint8], low: Words, high: Words
) -> bool:
    """Hash the string behind the header of every value; the values lie one behind the other."""
    start = 0
    for row in range(len(ends)):
        end = ends[row]
        if end - start < len(header) + 1:
            return False
        for at in range(len(header)):
            if data[start + at] != header[at]:
                return False
        begin = start + len(header)
        # Avro's length: zigzag, seven bits a byte, the lowest first; an id's has one or two bytes.
        number, shift, more = np.int64(0), 0, True
        while more:
            if begin == end or shift > 28:
                return False
            more = data[begin] >= 128
            number |= (np.int64(data[begin]) & 127) << shift
            shift += 7
            begin += 1
        if number & 1 or number >> 1 > end - begin:
            return False
        low[row], high[row] = _hashed(data, begin, begin + int(number >> 1))
        start = end
    return True
