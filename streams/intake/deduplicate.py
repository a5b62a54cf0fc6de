"""Drops repeated event ids: exact over a window of event time, with bounded memory, without Python objects per id."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, WORDS, compiled, read_only
from rheostat.streams.intake.fingerprint import Fingerprints

Mask = NDArray[np.bool_]
Longs = NDArray[np.int64]
Rows = NDArray[np.intp]

_CAPACITY_FIRST = 1 << 12
_SLOTS_PER_ID = 4
"""Slots of the index for each id when it is built anew; it is built again when half of them are taken."""


class Deduplicator:
    """Remembers the ids written to one output partition.

    The watermark is the largest event time written so far. Each id is stamped with the watermark that its own record
    made. It is known while the watermark is at most `window_ms` past its stamp and at most `ids_max` younger ids
    were written; both are judged as of the beginning of a block. So what is known depends on the partition's records
    alone, not on when memory is freed, and folding the tail of the partition restores it exactly, late events included.

    Ids and stamps lie in a ring in the order of writing (24 bytes an id); an open-addressing index of ring places
    (16 to 32 bytes an id) finds them. A place whose id was overwritten since simply does not match any more.
    """

    def __init__(self, window_ms: int, ids_max: int) -> None:
        self.watermark_ms: int | None = None
        self._evicted = 0
        self._window_ms = window_ms
        self._ids_max = ids_max
        self._written = 0
        self._first = 0
        self._allocate(min(_CAPACITY_FIRST, ids_max))
        self._build_index()

    def __len__(self) -> int:
        """How many ids are held; some may be too old to count."""
        return self._written - self._first

    def seen(self, ids: Fingerprints) -> Mask:
        """Return which rows repeat an id that is known; nothing is remembered."""
        if self.watermark_ms is None:
            return np.zeros(len(ids.low), np.bool_)
        known = np.empty(len(ids.low), np.bool_)
        horizon_ms = self.watermark_ms - self._window_ms
        _find(self._slots, self._low, self._high, self._stamps, horizon_ms, ids.low, ids.high, known)
        return known

    def remember(self, ids: Fingerprints, times_ms: Longs) -> None:
        """Remember ids as written, in this order. None may be known or occur twice."""
        if not len(times_ms):
            return
        before = np.iinfo(np.int64).min if self.watermark_ms is None else self.watermark_ms
        stamps = np.maximum.accumulate(np.maximum(times_ms, before))
        self.watermark_ms = int(stamps[-1])
        for start in range(0, len(stamps), self._ids_max):
            part = slice(start, start + self._ids_max)
            self._append(Fingerprints(ids.low[part], ids.high[part]), stamps[part])

    def take_evicted(self) -> int:
        """Return how many ids were given up for lack of memory, while they still counted, since the last call."""
        evicted, self._evicted = self._evicted, 0
        return evicted

    def _append(self, ids: Fingerprints, stamps: Longs) -> None:
        self._make_room(len(stamps))
        places = np.arange(self._written, self._written + len(stamps)) % self._capacity
        self._low[places], self._high[places], self._stamps[places] = ids.low, ids.high, stamps
        self._written += len(stamps)
        self._taken += len(stamps)
        if self._taken * 2 > len(self._slots):
            self._build_index()
        else:
            _insert(self._slots, ids.low, places)

    def _make_room(self, more: int) -> None:
        """Forget what is too old; then grow up to `ids_max`; then give up the oldest."""
        if len(self) + more <= self._capacity:
            return
        horizon = (self.watermark_ms or 0) - self._window_ms
        # Stamps rise in the order of writing.
        self._first = bisect_left(
            range(self._written), horizon, self._first, key=lambda written: self._stamps[written % self._capacity]
        )
        if (len(self) + more) * 2 > self._capacity < self._ids_max:
            self._grow(min(self._ids_max, max(2 * self._capacity, 2 * (len(self) + more))))
        excess = len(self) + more - self._capacity
        if excess > 0:
            self._first += excess
            self._evicted += excess

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._low = np.zeros(capacity, np.uint64)
        self._high = np.zeros(capacity, np.uint64)
        self._stamps = np.zeros(capacity, np.int64)

    def _grow(self, capacity: int) -> None:
        held = np.arange(self._first, self._written) % self._capacity
        low, high, stamps = self._low[held], self._high[held], self._stamps[held]
        self._allocate(capacity)
        self._low[: len(low)], self._high[: len(low)], self._stamps[: len(low)] = low, high, stamps
        self._first, self._written = 0, len(low)
        self._build_index()

    def _build_index(self) -> None:
        self._slots = np.zeros(1 << max(8, (_SLOTS_PER_ID * len(self) - 1).bit_length()), np.uint32)
        self._taken = len(self)
        held = np.arange(self._first, self._written) % self._capacity
        _insert(self._slots, self._low[held], held)


@compiled(types.void(types.uint32[::1], WORDS, LONGS))
def _insert(slots: NDArray[np.uint32], low: NDArray[np.uint64], places: Longs) -> None:
    """Put ring places into the next free slots."""
    mask = np.uint64(len(slots) - 1)
    for row in range(len(low)):
        slot = low[row] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = np.uint32(places[row] + 1)


@compiled(types.void(read_only(types.uint32), WORDS, WORDS, LONGS, types.int64, WORDS, WORDS, types.boolean[::1]))
def _find(
    slots: NDArray[np.uint32],
    ring_low: NDArray[np.uint64],
    ring_high: NDArray[np.uint64],
    stamps: Longs,
    horizon_ms: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    known: Mask,
) -> None:
    """Say which ids are in the ring with a stamp of at least `horizon_ms`.

    An id written twice, long after another, is there twice: only the younger one counts.
    """
    mask = np.uint64(len(slots) - 1)
    for row in range(len(low)):
        known[row] = False
        slot = low[row] & mask
        while slots[slot] != 0:
            at = np.int64(slots[slot]) - 1
            if ring_low[at] == low[row] and ring_high[at] == high[row] and stamps[at] >= horizon_ms:
                known[row] = True
                break
            slot = (slot + np.uint64(1)) & mask


def repeated(ids: Fingerprints) -> Mask:
    """Return which rows have the id of an earlier row of the same block."""
    later = np.empty(len(ids.low), np.bool_)
    slots = np.zeros(1 << (2 * len(ids.low)).bit_length(), np.uint32)
    _repeat(slots, ids.low, ids.high, later)
    return later


@compiled(types.void(types.uint32[::1], WORDS, WORDS, types.boolean[::1]))
def _repeat(slots: NDArray[np.uint32], low: NDArray[np.uint64], high: NDArray[np.uint64], later: Mask) -> None:
    mask = np.uint64(len(slots) - 1)
    for row in range(len(low)):
        slot = low[row] & mask
        later[row] = False
        while slots[slot] != 0 and not later[row]:
            earlier = slots[slot] - 1
            later[row] = low[earlier] == low[row] and high[earlier] == high[row]
            slot = (slot + np.uint64(1)) & mask
        if not later[row]:
            slots[slot] = np.uint32(row + 1)
