"""Avro records walked through field by field, compiled: all fields are checked, and noted of some is where they lie.

Whatever the bytes are, nothing is read outside of the data, and no record takes more steps than it has bytes. Refused
is what `schemas.block_layout` refuses, and what our codec never writes: numbers longer than they need be, arrays in
several blocks, bytes behind the last field.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.record_codec import HEADER_BYTES
from rheostat.streams.avro_words import HIGH_BITS, WORD_BYTES, is_utf8, number, word
from rheostat.streams.compiled import BYTES, LONGS, compiled, read_only

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Offsets = NDArray[np.int32]
Flags = NDArray[np.bool_]

DOUBLE, NUMBER, TEXT, DOUBLES, TEXTS = range(5)
"""Kinds of fields; those from TEXT on are of any length. A boolean is read as a number: 0, or -1 where it is true."""

NULLABLE = 8
"""Added to a kind whose values are preceded by their place in [null, kind]."""

KIND, SLOT, VALID, LEAST, MOST = range(5)
"""The rows of a program, each with one column for every field of a record, in order: the kind; where in `numbers`, or
`begins` and `offsets`, it goes, -1 where it is passed over; where in `valid` it is noted whether it is null, -1 for
nowhere; the limits of a number, or of a length."""

_PROGRAM, _NUMBERS = read_only(types.int64, 2), types.Array(types.int64, 2, "C")
_FLAGS, _OFFSETS = types.Array(types.boolean, 2, "C"), types.Array(types.int32, 2, "C")


@compiled(types.uint64(BYTES, types.int64))
def _header(data: Bytes, at: int) -> np.uint64:
    """Return the bytes before a record, the lowest first."""
    place = np.uint64(at)
    found = np.uint64(data[place]) | np.uint64(data[place + np.uint64(1)]) << np.uint64(8)
    found |= np.uint64(data[place + np.uint64(2)]) << np.uint64(16)
    found |= np.uint64(data[place + np.uint64(3)]) << np.uint64(24)
    return found | np.uint64(data[place + np.uint64(4)]) << np.uint64(32)


@compiled(types.int64(BYTES, types.int64, types.int64, types.int64))
def _past_texts(data: Bytes, at: int, end: int, count: int) -> Any:
    """Return where that many texts end, -1 if there are none."""
    for _ in range(count):
        size, at = number(data, at, end)
        if at < 0 or size < 0 or size > end - at:
            return -1
        if 0 < size <= WORD_BYTES <= len(data) - at:
            text = word(data, at) << np.uint64(8 * (WORD_BYTES - size))
            if text & np.uint64(HIGH_BITS) and not is_utf8(data, at, at + size):
                return -1
        elif not is_utf8(data, at, at + size):
            return -1
        at += size
    return at


@compiled(
    types.boolean(
        BYTES, LONGS, types.uint64, _PROGRAM, types.int64, _NUMBERS, _FLAGS, _OFFSETS, _OFFSETS, types.int64[::1]
    )
)
def scan(
    data: Bytes,
    ends: Longs,
    header: int,
    program: Longs,
    first: int,
    numbers: Longs,
    valid: Flags,
    begins: Offsets,
    offsets: Offsets,
    spans: Longs,
) -> bool:
    """Walk through the records of one run; False at the first one with another header or other fields than these.

    header: its bytes as a number, the lowest first. first: the row that the first record is. numbers: (slots, rows)
    gets numbers, doubles as their bits; 0 for null. begins: (slots, rows) gets where a text, or the first item of an
    array, begins. offsets: (slots, rows + 1) gets how many bytes or items there are up to the end of each row; those up
    to the first row must be there already. spans: (slots) is added to by the bytes that these values take.

    All in one function, as a call with arrays costs more than most fields do; and what is one byte long, as nearly all
    lengths are, by a branch of its own: the next field is then looked at before the byte is there.
    """
    kinds, slots, valids, least, most = program[KIND], program[SLOT], program[VALID], program[LEAST], program[MOST]
    start = 0
    for record in range(len(ends)):
        row, at, end = first + record, start + HEADER_BYTES, ends[record]
        if at > end or end > len(data) or _header(data, start) != header:
            return False
        for field in range(len(kinds)):
            kind, slot, null = kinds[field], slots[field], False
            if kind & NULLABLE:
                kind ^= NULLABLE
                if at == end or (data[at] != 0 and data[at] != 2):
                    return False
                null = data[at] == 0
                at += 1
                if valids[field] >= 0:
                    valid[valids[field], row] = not null
            found: Any = 0
            before, size = at, 0
            if null:
                pass
            elif kind == DOUBLE:
                if end - at < WORD_BYTES:
                    return False
                found = np.int64(word(data, at))
                at += WORD_BYTES
            else:
                if at == end:
                    return False
                found = np.int64(data[at])
                if found < 128:
                    found = (found >> 1) ^ -(found & 1)
                    at += 1
                else:
                    found, at = number(data, at, end)
                if at < 0 or found < least[field] or found > most[field]:
                    return False
                if kind >= TEXT:
                    size, found = found, at
                    if size > end - at:
                        return False
                if kind == TEXT:
                    stop = at + size
                    while stop - at >= WORD_BYTES and not word(data, at) & np.uint64(HIGH_BITS):
                        at += WORD_BYTES
                    if at < stop:
                        # What is left, shifted to the upper end; a whole word where that is not ASCII.
                        left = ~np.uint64(0)
                        if at + WORD_BYTES <= len(data):
                            left = word(data, at) << np.uint64(8 * max(0, WORD_BYTES - (stop - at)))
                        if left & np.uint64(HIGH_BITS) and not is_utf8(data, at, stop):
                            return False
                    at = stop
                elif kind > TEXT and size:
                    if kind == TEXTS:
                        at = _past_texts(data, at, end, size)
                    elif size <= (end - at) // WORD_BYTES:
                        at += size * WORD_BYTES
                    else:
                        return False
                    # An empty block ends it.
                    if at < 0 or at == end or data[at] != 0:
                        return False
                    at += 1
            if slot >= 0 and kind < TEXT:
                numbers[slot, row] = found
            elif slot >= 0:
                begins[slot, row] = found
                offsets[slot, row + 1] = offsets[slot, row] + size
                spans[slot] += at - before
        if at != end:
            return False
        start = end
    return True
