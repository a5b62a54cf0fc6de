"""A hash table of ids that grows in place: fingerprints, each with the number it was written under.

A slot has 16 bytes: 96 bits of the fingerprint and a 32-bit number, 0 in a free slot. Open addressing with linear
probing, so a look-up reads neighbouring memory. An entry older than the oldest that counts is overwritten or dropped
when its slot is needed, never searched for.

The table is cut into 64 shares by hash. Each lies in a stretch of reserved addresses that is touched only as far as the
share has grown, so a share grows by a quarter where it is: without a moment of double memory, and no call moves more
than the shares it fills. Between 2/3 and 17/20 of the slots are in use once a share has outgrown its first size.
"""

from __future__ import annotations

import mmap
from math import isqrt

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.prefetch import prefetch

Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Longs = NDArray[np.int64]

NUMBER_MAX = 2**32 - 1
SHARES = 64
SLOT_BYTES = 16

_FIRST_SLOTS = 64
_ADDRESSES_PER_ID = 3
"""Slots of reserved addresses, not memory, for each id a share gets when ids are spread evenly."""
_FULL, _TO_GROW = 0.85, 0.75
"""Shares of slots in use: to make room from, and counting only what is not too old, to grow from."""

_SHARE = np.uint64(SHARES - 1)
_HALF = np.uint64(32)
_NUMBER = np.uint64(NUMBER_MAX)
_REST = np.uint64(2**64 - 2**32)
"""Where a slot's second word has its number, and the rest of the fingerprint."""

_AHEAD = 12
"""Rows before it is looked at that a slot begins to be fetched."""

_TABLE = types.uint64[:, :, ::1]
_ANY_TABLE = types.Array(types.uint64, 3, "C", readonly=True)
_ENTRIES = types.Array(types.uint64, 2, "C", readonly=True)


class FingerprintTable:
    """Ids with their numbers, at most `ids_max` of which count at a time."""

    def __init__(self, ids_max: int) -> None:
        evenly = ids_max // SHARES
        self._slots_max = max(2 * (_FIRST_SLOTS + SHARES), _ADDRESSES_PER_ID * (evenly + 8 * isqrt(evenly) + 8))
        self._table = np.frombuffer(_reserved(SHARES * self._slots_max * SLOT_BYTES), np.uint64)
        self._table = self._table.reshape(SHARES, self._slots_max, 2)
        # Of different sizes, so that they do not all grow at the same time.
        self._sizes = _FIRST_SLOTS + np.arange(SHARES)
        self._taken = np.zeros(SHARES, np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the shares take up."""
        return int(self._sizes.sum()) * SLOT_BYTES

    def contains(self, ids: Fingerprints, oldest: int) -> Mask:
        """Return which ids are there under a number of at least `oldest`."""
        known = np.empty(len(ids.low), np.bool_)
        _find(self._table, self._sizes, oldest, ids.low, ids.high, known)
        return known

    def put(self, ids: Fingerprints, number: int, oldest: int) -> int:
        """Enter ids under `number` and the numbers after it; none of them may be there and count.

        Entries under a number below `oldest` do not count any more. Returns the oldest that still counts: more than
        `oldest` only if ids made to collide overcrowd a share.
        """
        row = 0
        while True:
            row = _insert(self._table, self._sizes, self._taken, oldest, ids.low, ids.high, number, row)
            if row == len(ids.low):
                return oldest
            oldest = self._make_room(int(ids.low[row] & _SHARE), oldest)

    def renumber(self, oldest: int) -> None:
        """Take `oldest - 1` off every number and drop what is older; looks at all there is."""
        for share in range(SHARES):
            entries = self._entries(share, oldest)
            entries[:, 1] -= np.uint64(oldest - 1)
            self._refill(share, entries, int(self._sizes[share]))

    def _make_room(self, share: int, oldest: int) -> int:
        """Drop what does not count from a share; let it grow if that was not enough."""
        entries, size = self._entries(share, oldest), int(self._sizes[share])
        if len(entries) > _TO_GROW * self._slots_max:
            numbers = entries[:, 1] & _NUMBER
            oldest = int(np.partition(numbers, len(numbers) // 2)[len(numbers) // 2])
            entries = entries[numbers >= oldest]
        if len(entries) > _TO_GROW * size:
            # In larger steps while nothing is dropped, as when all of it is read again after a restart.
            step = size // (4 if len(entries) == self._taken[share] else 8)
            size = min(self._slots_max, size + step)
        self._refill(share, entries, size)
        return oldest

    def _entries(self, share: int, oldest: int) -> Words:
        entries = np.empty((self._taken[share], 2), np.uint64)
        return entries[: _gather(self._table[share, : self._sizes[share]], oldest, entries)]

    def _refill(self, share: int, entries: Words, size: int) -> None:
        self._table[share, :size] = 0
        self._sizes[share], self._taken[share] = size, len(entries)
        _enter(self._table[share, :size], entries)


def _reserved(size: int) -> mmap.mmap:
    """Return zeros that take up memory only where they are written to, page by page."""
    reserved = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Not by huge pages, which would fill the gaps between the shares. Only Linux has them.
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        reserved.madvise(mmap.MADV_NOHUGEPAGE)
    return reserved


@compiled(types.uint64(types.uint64, types.uint64))
def _home(low: np.uint64, size: np.uint64) -> np.uint64:
    """Return the slot where the search for an id begins; the lowest bits chose the share."""
    return ((low >> _HALF) * size) >> _HALF


@compiled(types.void(_ANY_TABLE, LONGS, types.uint64), types.void(_TABLE, LONGS, types.uint64))
def _expect(table: Words, sizes: Longs, low: np.uint64) -> None:
    """Begin to fetch the slot where the search for an id begins."""
    share = low & _SHARE
    prefetch(table[share, _home(low, np.uint64(sizes[share]))], 0)


@compiled(types.void(_ANY_TABLE, LONGS, types.int64, WORDS, WORDS, types.boolean[::1]))
def _find(table: Words, sizes: Longs, oldest: int, low: Words, high: Words, known: Mask) -> None:
    least = np.uint64(oldest)
    for row in range(len(low)):
        if row + _AHEAD < len(low):
            _expect(table, sizes, low[row + _AHEAD])
        share = low[row] & _SHARE
        size = np.uint64(sizes[share])
        slot, rest = _home(low[row], size), high[row] & _REST
        known[row] = False
        while table[share, slot, 1] & _NUMBER:
            second = table[share, slot, 1]
            if table[share, slot, 0] == low[row] and second & _REST == rest and second & _NUMBER >= least:
                known[row] = True
                break
            slot += np.uint64(1)
            if slot == size:
                slot = np.uint64(0)


@compiled(types.int64(_TABLE, LONGS, types.int64[::1], types.int64, WORDS, WORDS, types.int64, types.int64))
def _insert(
    table: Words, sizes: Longs, taken: Longs, oldest: int, low: Words, high: Words, number: int, start: int
) -> int:
    """Enter ids from row `start` on; return the row whose share has no room, or their count."""
    least = np.uint64(oldest)
    for row in range(start, len(low)):
        if row + _AHEAD < len(low):
            _expect(table, sizes, low[row + _AHEAD])
        share = low[row] & _SHARE
        size = np.uint64(sizes[share])
        if taken[share] >= _FULL * size:
            return row
        slot = _home(low[row], size)
        while table[share, slot, 1] & _NUMBER >= max(least, np.uint64(1)):
            slot += np.uint64(1)
            if slot == size:
                slot = np.uint64(0)
        if not table[share, slot, 1] & _NUMBER:
            taken[share] += 1
        table[share, slot, 0] = low[row]
        table[share, slot, 1] = (high[row] & _REST) | np.uint64(number + row)
    return len(low)


@compiled(types.int64(_ENTRIES, types.int64, types.uint64[:, ::1]))
def _gather(slots: Words, oldest: int, entries: Words) -> int:
    """Copy the entries that count, in the order of the slots, so that they are entered again in that order."""
    count = 0
    least = np.uint64(max(oldest, 1))
    for slot in range(len(slots)):
        if slots[slot, 1] & _NUMBER >= least:
            entries[count, 0], entries[count, 1] = slots[slot, 0], slots[slot, 1]
            count += 1
    return count


@compiled(types.void(types.uint64[:, ::1], _ENTRIES))
def _enter(slots: Words, entries: Words) -> None:
    """Put entries into free slots."""
    size = np.uint64(len(slots))
    for row in range(len(entries)):
        slot = _home(entries[row, 0], size)
        while slots[slot, 1]:
            slot += np.uint64(1)
            if slot == size:
                slot = np.uint64(0)
        slots[slot, 0], slots[slot, 1] = entries[row, 0], entries[row, 1]
