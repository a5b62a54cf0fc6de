"""SipHash-2-4 of a column of strings: a keyed pseudorandom function made for short inputs.

J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF", INDOCRYPT 2012. Without the 128-bit key its values
cannot be told from random ones, so they cannot be computed for a guessed input, nor two inputs be made to collide.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, compiled
from rheostat.streams.intake.strings import bytes_of, offsets_of

Words = NDArray[np.uint64]

KEY_BYTES = 16
_FINAL = np.uint64(0xFF)
_LAST_BYTE = np.uint64(56)


def siphash(key: bytes, column: pa.StringArray) -> Words:
    """Return the hash of every string, uint64 (rows,); nulls count as empty. The key has 16 bytes."""
    low, high = np.frombuffer(key, "<u8", 2)
    offsets = offsets_of(column)
    hashes = np.empty(len(offsets) - 1, np.uint64)
    _hash(bytes_of(column), offsets, low, high, hashes)
    return hashes


@compiled(types.uint64(types.uint64, types.int64))
def _rotated(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@compiled(types.void(types.uint64[::1], types.int64))
def _rounds(v: Words, count: int) -> None:
    for _ in range(count):
        v[0] += v[1]
        v[1] = _rotated(v[1], 13) ^ v[0]
        v[0] = _rotated(v[0], 32)
        v[2] += v[3]
        v[3] = _rotated(v[3], 16) ^ v[2]
        v[0] += v[3]
        v[3] = _rotated(v[3], 21) ^ v[0]
        v[2] += v[1]
        v[1] = _rotated(v[1], 17) ^ v[2]
        v[2] = _rotated(v[2], 32)


@compiled(types.void(BYTES, INTS, types.uint64, types.uint64, types.uint64[::1]))
def _hash(data: NDArray[np.uint8], offsets: NDArray[np.int32], low: int, high: int, hashes: Words) -> None:
    v = np.empty(4, np.uint64)
    for row in range(len(hashes)):
        begin, end = offsets[row], offsets[row + 1]
        v[0] = low ^ np.uint64(0x736F6D6570736575)
        v[1] = high ^ np.uint64(0x646F72616E646F6D)
        v[2] = low ^ np.uint64(0x6C7967656E657261)
        v[3] = high ^ np.uint64(0x7465646279746573)
        # Every string ends with a word that holds its last bytes, fewer than eight, and its length.
        for start in range(begin, end + 1, 8):
            word = np.uint64(0)
            for at in range(min(8, end - start)):
                word |= np.uint64(data[start + at]) << np.uint64(8 * at)
            if end - start < 8:
                word |= np.uint64(end - begin) << _LAST_BYTE
            v[3] ^= word
            _rounds(v, 2)
            v[0] ^= word
        v[2] ^= _FINAL
        _rounds(v, 4)
        hashes[row] = v[0] ^ v[1] ^ v[2] ^ v[3]
