"""Drops repeated event ids: exact over a window of event time, with bounded memory, without Python objects per id."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.intake.fingerprint_table import NUMBER_MAX, FingerprintTable
from rheostat.streams.intake.timeline import Timeline

Mask = NDArray[np.bool_]
Longs = NDArray[np.int64]

_STEPS = 1 << 12
"""Steps of the window by which stamps are kept: 21 s for a day."""


class Deduplicator:
    """Remembers the ids written to one output partition.

    The watermark is the largest event time written so far. Each id is stamped with the watermark that its own record
    made. It is known while the watermark is at most `window_ms` past its stamp, to a 4,096th of the window (stamps and
    the window's end are both rounded down to such a step), and at most `ids_max` younger ids were written; both are
    judged as of the beginning of a block. So what is known depends on the partition's records alone, not on when memory
    is freed, and folding the tail of the partition from `tail_ms` on restores it exactly, late events included.

    No known id is ever taken for new. A new id is taken for a known one when their fingerprints agree in 96 bits: of n
    known ids with a probability of n / 2^96, which is 1e-22 for 10 million, or once in 1e13 days of a billion events.

    Memory is at most 24 bytes for each id held (slots of 16 bytes, 2/3 to 17/20 of which are in use), or 165 KB if that
    is more, and at most 64 KB for the stamps. It grows with what is held, and is kept for what comes next.
    """

    def __init__(self, window_ms: int, ids_max: int) -> None:
        self.watermark_ms: int | None = None
        self._window_ms = window_ms
        self._ids_max = ids_max
        self._evicted = 0
        self._next = self._oldest = 1
        self._ids = FingerprintTable(ids_max)
        self._stamps = Timeline(max(1, window_ms // _STEPS))

    def __len__(self) -> int:
        """How many ids are held and known."""
        return self._next - self._oldest

    @property
    def nbytes(self) -> int:
        """Bytes of memory for what is held."""
        return self._ids.nbytes + self._stamps.nbytes

    def tail_ms(self, watermark_ms: int) -> int:
        """Return the event time from which on a partition with this watermark is to be folded."""
        step_ms = self._stamps.step_ms
        return (watermark_ms - self._window_ms) // step_ms * step_ms

    def seen(self, ids: Fingerprints) -> Mask:
        """Return which rows repeat an id that is known; nothing is remembered."""
        if not len(self):
            return np.zeros(len(ids.low), np.bool_)
        return self._ids.contains(ids, self._oldest)

    def remember(self, ids: Fingerprints, times_ms: Longs) -> None:
        """Remember ids as written, in this order. None may be known or occur twice."""
        count = len(times_ms)
        if not count:
            return
        if self._next + count > NUMBER_MAX:
            self._renumber()
        before = np.iinfo(np.int64).min if self.watermark_ms is None else self.watermark_ms
        stamps = np.maximum.accumulate(np.maximum(times_ms, before))
        self.watermark_ms = int(stamps[-1])
        self._stamps.append(stamps, self._next)
        following = self._next + count
        self._keep_from(max(self._oldest, self._first_in_window()), following - self._ids_max)
        kept = slice(max(0, self._oldest - self._next), None)
        oldest = self._ids.put(
            Fingerprints(ids.low[kept], ids.high[kept]), following - len(ids.low[kept]), self._oldest
        )
        self._next = following
        self._keep_from(self._oldest, oldest)

    def take_evicted(self) -> int:
        """Return how many ids were given up for lack of memory, while they still counted, since the last call."""
        evicted, self._evicted = self._evicted, 0
        return evicted

    def _first_in_window(self) -> int:
        assert self.watermark_ms is not None
        first = self._stamps.first_since(self.watermark_ms - self._window_ms)
        assert first is not None, "the newest stamp is the watermark"
        return first

    def _keep_from(self, in_window: int, with_room: int) -> None:
        """Forget what is before both numbers; only what is still in the window is missed."""
        self._evicted += max(0, with_room - in_window)
        self._oldest = max(in_window, with_room)
        self._stamps.forget_before(self._oldest)

    def _renumber(self) -> None:
        """Count from 1 again, once in four billion ids."""
        less = self._oldest - 1
        self._ids.renumber(self._oldest)
        self._stamps.forget_before(self._oldest)
        self._stamps.renumber(less)
        self._oldest -= less
        self._next -= less


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
