"""What Avro records are made of, read and written where it lies, eight bytes at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, compiled

Bytes = NDArray[np.uint8]

WORD_BYTES = 8
HIGH_BITS = 0x8080808080808080
"""Those that bytes of ASCII do not have, and all bytes of a number but its last one do."""

OUT = types.uint8[::1]
_PLACED = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
_NUMBER_BYTES = 10
_LOW_BITS = 0x0101010101010101


@compiled(types.uint64(BYTES, types.int64))
def word(data: Bytes, at: int) -> np.uint64:
    """Return eight bytes, the lowest first; without a loop and by unsigned places, so that they are read at once."""
    place = np.uint64(at)
    found = np.uint64(data[place]) | np.uint64(data[place + np.uint64(1)]) << np.uint64(8)
    found |= np.uint64(data[place + np.uint64(2)]) << np.uint64(16)
    found |= np.uint64(data[place + np.uint64(3)]) << np.uint64(24)
    found |= np.uint64(data[place + np.uint64(4)]) << np.uint64(32)
    found |= np.uint64(data[place + np.uint64(5)]) << np.uint64(40)
    found |= np.uint64(data[place + np.uint64(6)]) << np.uint64(48)
    return found | np.uint64(data[place + np.uint64(7)]) << np.uint64(56)


@compiled(types.void(OUT, types.int64, types.uint64))
def put_word(out: Bytes, at: int, value: np.uint64) -> None:
    """Write what `word` reads, in the same way."""
    place = np.uint64(at)
    out[place] = value
    out[place + np.uint64(1)] = value >> np.uint64(8)
    out[place + np.uint64(2)] = value >> np.uint64(16)
    out[place + np.uint64(3)] = value >> np.uint64(24)
    out[place + np.uint64(4)] = value >> np.uint64(32)
    out[place + np.uint64(5)] = value >> np.uint64(40)
    out[place + np.uint64(6)] = value >> np.uint64(48)
    out[place + np.uint64(7)] = value >> np.uint64(56)


@compiled(_PLACED(BYTES, types.int64, types.int64))
def _bytewise_number(data: Bytes, at: int, end: int) -> tuple[Any, int]:
    """Return `number`, read byte by byte: one of more than eight bytes, or close to the end of the data."""
    bits, begin = np.uint64(0), at
    while at < end and at - begin < _NUMBER_BYTES:
        byte = np.uint64(data[at])
        bits |= (byte & np.uint64(127)) << np.uint64(7 * (at - begin))
        at += 1
        if byte < np.uint64(128):
            too_many = at - begin == _NUMBER_BYTES and byte > np.uint64(1)
            overlong = at - begin > 1 and byte == 0
            return np.int64(bits >> np.uint64(1)) ^ -np.int64(bits & np.uint64(1)), -1 if too_many or overlong else at
    return 0, -1


@compiled(_PLACED(BYTES, types.int64, types.int64))
def number(data: Bytes, at: int, end: int) -> tuple[Any, Any]:
    """Read a number as Avro writes it: zigzag, seven bits a byte, the lowest first, no more bytes than it needs.

    Returns it and where it ends, -1 if there is none of 64 bits before `end`.
    """
    if at < end and data[at] < 128:
        low = np.int64(data[at])
        return (low >> 1) ^ -(low & 1), at + 1
    if at + WORD_BYTES <= len(data):
        bits = word(data, at)
        last = ~bits & np.uint64(HIGH_BITS)
        if last:
            # All bits below the lowest high bit that is not set are the number's: their bytes are counted, and the
            # seven bits of each moved together, in pairs, then in fours, then in eights.
            below = (last & (~last + np.uint64(1))) - np.uint64(1)
            size = np.int64(((below & np.uint64(_LOW_BITS)) * np.uint64(_LOW_BITS)) >> np.uint64(56))
            bits &= below & ~np.uint64(HIGH_BITS)
            bits = (bits & np.uint64(0x007F007F007F007F)) | ((bits & np.uint64(0x7F007F007F007F00)) >> np.uint64(1))
            bits = (bits & np.uint64(0x00003FFF00003FFF)) | ((bits & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2))
            bits = (bits & np.uint64(0x000000000FFFFFFF)) | ((bits & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4))
            fits = size <= end - at and (size == 1 or bits >> np.uint64(7 * (size - 1)))
            return np.int64(bits >> np.uint64(1)) ^ -np.int64(bits & np.uint64(1)), at + size if fits else -1
    return _bytewise_number(data, at, end)


@compiled(types.boolean(BYTES, types.int64, types.int64))
def is_utf8(data: Bytes, at: int, end: int) -> bool:
    """Return whether bytes are well-formed UTF-8, by table 3-7 of the Unicode standard."""
    while at < end:
        lead = data[at]
        if lead < 0x80:
            at += 1
            continue
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if lead < 0xC2 or lead > 0xF4 or more >= end - at:
            return False
        least = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        most = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if not least <= data[at + 1] <= most:
            return False
        for place in range(at + 2, at + more + 1):
            if data[place] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True
