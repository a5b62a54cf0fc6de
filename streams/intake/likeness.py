"""How alike texts are: a 64-bit SimHash of each.

A text is looked at in Unicode's NFKC form, in lower case, with anything between letters and digits as one space. Every
five bytes of it that follow each other are hashed, and each bit of the SimHash is what most of those hashes have there:
the share of bits in which two texts differ is the angle between their counts of five bytes, over pi (Charikar,
"Similarity Estimation Techniques from Rounding Algorithms", STOC 2002).

Of texts of 12 words, drawn by how often words are used, 4 in a million unrelated pairs are within `NEAR_BITS`, and of
40 words 120. A copy with a number behind it is within them in 92 % and 99.9 % of cases, one with another word for one
of the words in 58 % and 99 %.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, LONGS, compiled
from rheostat.streams.intake.strings import bytes_of, lengths_of, offsets_of

Words = NDArray[np.uint64]

TEXT_BYTES_MIN = 24
"""A shorter text says nothing: many people write "great" or "thank you very much"."""
TEXT_BYTES_MAX = 2_048
"""Only the beginning of a longer text is looked at, which bounds what a record costs."""
NEAR_BITS = 10
"""Texts whose SimHashes differ in at most so many bits are nearly the same."""

_SHINGLE_BYTES = 5
_SHINGLE_MASK = np.uint64((1 << 8 * _SHINGLE_BYTES) - 1)
_FACTOR, _FACTOR_TOO, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(32)
_ASCII, _SPACE = 0x80, 0x20


def text_hashes(column: pa.StringArray) -> Words | None:
    """Return the SimHash of every text, 0 for one that is null or too short; None if all are."""
    if column.null_count == len(column):
        return None
    long = np.flatnonzero(lengths_of(column) >= TEXT_BYTES_MIN)
    if not len(long):
        return None
    texts, rows = column, long
    if not _is_ascii(column):
        texts = pc.utf8_lower(pc.utf8_normalize(column.take(pa.array(long)), "NFKC"))
        rows = np.arange(len(long))
    found, hashes = np.empty(len(long), np.uint64), np.zeros(len(column), np.uint64)
    _simhashes(bytes_of(texts), offsets_of(texts), rows, found)
    hashes[long] = found
    return hashes


def _is_ascii(texts: pa.StringArray) -> bool:
    """Whether nothing has to be normalised but ASCII, which `_simhashes` does on its way."""
    offsets = offsets_of(texts)
    return bool(bytes_of(texts)[offsets[0] : offsets[-1]].max(initial=0) < _ASCII)


@compiled(types.void(BYTES, INTS, LONGS, types.uint64[::1]))
def _simhashes(data: NDArray[np.uint8], offsets: NDArray[np.int32], rows: NDArray[np.intp], hashes: Words) -> None:
    """Hash the texts of some rows; 0 for one that has become too short."""
    ones = np.empty(64, np.int32)
    for place in range(len(rows)):
        row = rows[place]
        ones[:] = 0
        window, length, spaced = np.uint64(0), 0, True
        for at in range(offsets[row], min(offsets[row + 1], offsets[row] + TEXT_BYTES_MAX)):
            byte = data[at]
            if 65 <= byte <= 90:
                byte += np.uint8(32)
            if not (byte >= _ASCII or 97 <= byte <= 122 or 48 <= byte <= 57):
                if spaced:
                    continue
                byte = np.uint8(_SPACE)
            spaced = byte == _SPACE
            window = (window << np.uint64(8) | np.uint64(byte)) & _SHINGLE_MASK
            length += 1
            if length >= _SHINGLE_BYTES:
                mixed = window * _FACTOR
                mixed = (mixed ^ mixed >> _HALF) * _FACTOR_TOO
                mixed ^= mixed >> _HALF
                for bit in range(64):
                    ones[bit] += np.int32(mixed >> np.uint64(bit) & np.uint64(1))
        hashes[place] = np.uint64(0)
        if length >= TEXT_BYTES_MIN:
            for bit in range(64):
                if 2 * ones[bit] > length - _SHINGLE_BYTES + 1:
                    hashes[place] |= np.uint64(1) << np.uint64(bit)
            hashes[place] = max(hashes[place], np.uint64(1))


@compiled(types.int64(types.uint64, types.uint64))
def differing_bits(one: np.uint64, other: np.uint64) -> int:
    """Return in how many bits two SimHashes differ."""
    bits = one ^ other
    count = 0
    while bits:
        bits &= bits - np.uint64(1)
        count += 1
    return count
