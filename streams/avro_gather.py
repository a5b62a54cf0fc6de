"""Texts and arrays of Avro records that `avro_scan` found, put one behind the other."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.avro_scan import TEXT, TEXTS
from rheostat.streams.avro_words import OUT, WORD_BYTES, number, put_word, word
from rheostat.streams.compiled import BYTES, LONGS, compiled

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Offsets = NDArray[np.int32]

SLACK_BYTES = WORD_BYTES
"""How much room there must be behind what is gathered."""

_ROWS = 1_024
"""Rows gone through for one column after the other, so that their records are still at hand for the next one."""

_OFFSETS, _ALL_OFFSETS = types.int32[::1], types.Array(types.int32, 2, "C")


@compiled(types.void(BYTES, types.int64, types.int64, OUT, types.int64))
def _copy_bytes(data: Bytes, begin: int, size: int, out: Bytes, to: int) -> None:
    for place in range(size):
        out[to + place] = data[begin + place]


@compiled(types.void(BYTES, types.int64, types.int64, types.int64, _OFFSETS, _OFFSETS, OUT, types.int64))
def _values(
    data: Bytes, first: int, end: int, unit: int, begins: Offsets, offsets: Offsets, out: Bytes, start: int
) -> None:
    """Gather texts, or numbers of `unit` bytes. Whole words are copied: what is too much, the next row overwrites."""
    for row in range(first, end):
        begin, to = begins[row], start + offsets[row] * unit
        size = (offsets[row + 1] - offsets[row]) * unit
        if begin + size + WORD_BYTES <= len(data):
            for done in range(0, size, WORD_BYTES):
                put_word(out, to + done, word(data, begin + done))
        else:
            _copy_bytes(data, begin, size, out, to)


@compiled(types.void(BYTES, types.int64, types.int64, _OFFSETS, _OFFSETS, OUT, types.int64, _OFFSETS, types.int64))
def _texts(
    data: Bytes,
    first: int,
    end: int,
    begins: Offsets,
    offsets: Offsets,
    out: Bytes,
    start: int,
    item_ends: Offsets,
    item_start: int,
) -> None:
    """Gather the texts of arrays, in the same way, and note where each one ends."""
    item = item_start + offsets[first]
    to = start + item_ends[item]
    for row in range(first, end):
        at = begins[row]
        for _ in range(offsets[row + 1] - offsets[row]):
            size, at = number(data, at, len(data))
            if at + size + WORD_BYTES <= len(data):
                for done in range(0, size, WORD_BYTES):
                    put_word(out, to + done, word(data, at + done))
            else:
                _copy_bytes(data, at, size, out, to)
            at += size
            to += size
            item += 1
            item_ends[item] = to - start


@compiled(types.void(BYTES, types.int64, types.int64, LONGS, _ALL_OFFSETS, _ALL_OFFSETS, OUT, LONGS, _OFFSETS, LONGS))
def gather(
    data: Bytes,
    first: int,
    end: int,
    kinds: Longs,
    begins: Offsets,
    offsets: Offsets,
    out: Bytes,
    starts: Longs,
    item_ends: Offsets,
    item_starts: Longs,
) -> None:
    """Gather the columns of one run, which is rows [first, end); `begins` and `offsets` are those of `scan`.

    out: gets the bytes of each column from its place in `starts` on. item_ends: gets, for arrays of texts, where each
    text ends, counted from there, behind a 0, from the column's place in `item_starts` on.
    """
    for row in range(first, end, _ROWS):
        stop = min(row + _ROWS, end)
        for slot in range(len(kinds)):
            if kinds[slot] == TEXTS:
                _texts(data, row, stop, begins[slot], offsets[slot], out, starts[slot], item_ends, item_starts[slot])
            else:
                unit = 1 if kinds[slot] == TEXT else WORD_BYTES
                _values(data, row, stop, unit, begins[slot], offsets[slot], out, starts[slot])
