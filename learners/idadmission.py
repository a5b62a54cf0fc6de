"""Rows of their own for ids that come back, within a fixed number of bytes, whatever the number of ids.

An id gets a row once it was seen often enough, and loses it to a newcomer when it was not seen for long. A bucket of
ids that are all in use turns newcomers away, though other buckets may have room.

How often an id was seen is told by a count-min sketch (Cormode and Muthukrishnan 2005) with conservative update (Estan
and Varghese 2002), halved now and then (TinyLFU: Einziger, Friedman and Manes 2017). A count is never too low but by
halving. The sum of a row of counters stays below a quarter of its length, so a new id finds one of its counters in use
with a probability below 1/4, and all four, which would count it too high, below 0.4 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.learners.compiled import LONGS, WORDS, compiled
from rheostat.learners.contract import Tensors
from rheostat.learners.idtable import BUCKET_FACTOR, COUNT_MAX, SKETCH_ROWS, WAYS, Ids, IdSettings, Rows, bucket_shift
from rheostat.learners.layout import take

NEVER = -(1 << 62)
"""When a free row was seen last: longer ago than any time to expire."""

_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xFF51AFD7ED558CCD], np.uint64)
"""Odd, one for each row of the sketch, as `BUCKET_FACTOR`: an id's places do not follow from each other."""


class IdTable:
    """Which id has which row, and when it was last seen. Deterministic: the order of ids decides all."""

    def __init__(self, settings: IdSettings) -> None:
        self._limits = np.array([settings.admit_after, settings.expire_after], np.int64)
        self._shifts = np.array([bucket_shift(settings.rows), 64 - settings.sketch_bits], np.uint64)
        self.keys: Ids = np.zeros(settings.rows, np.uint64)
        self._seen = np.full(settings.rows, NEVER, np.int64)
        self._counters = np.zeros((SKETCH_ROWS, 1 << settings.sketch_bits), np.uint8)
        self._added, self._now = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._touched = np.zeros(settings.rows, np.bool_)

    def see(self, ids: Ids, now: int) -> tuple[Rows, Rows]:
        """Count ids (n,) in, in order; return each one's own row, -1 for none, and the rows given just now, rising.

        now: rows learned so far, or epoch ms; one that is earlier than the last counts as the last. What a row given
        just now held before is another id's.
        """
        now = self._now[0] = max(now, self._now[0])
        rows, given = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        count = _see(
            ids, now, self._limits, self._shifts, self.keys, self._seen, self._counters, self._added, rows, given
        )
        given = np.sort(given[:count])
        self._touched[given] = True
        return rows, given

    def touched(self) -> Rows:
        """Return the rows given since the last call, rising."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        return rows

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the state, as part of a snapshot."""
        return {f"ids.{name}": tensor.copy() for name, tensor in self._state().items()}

    def restore(self, tensors: Tensors) -> None:
        """Take over a state; ValueError if it does not fit the settings, and nothing is changed then."""
        state = self._state()
        taken = {name: take(tensors, f"ids.{name}", own.dtype.type, own.shape) for name, own in state.items()}
        for name, own in state.items():
            own[...] = taken[name]

    def _state(self) -> dict[str, NDArray[np.generic]]:
        return {
            "keys": self.keys,
            "seen": self._seen,
            "counters": self._counters,
            "added": self._added,
            "now": self._now,
        }


_LONGS, _WORDS, _COUNTERS = types.int64[::1], types.uint64[::1], types.uint8[:, ::1]


@compiled(types.int64(types.uint64, types.uint64, WORDS, _COUNTERS))
def _count(value: Any, shift: Any, factors: Any, counters: Any) -> int:
    """Count one id in and return how often it was seen, at most `COUNT_MAX`."""
    least: Any = COUNT_MAX
    for row in range(SKETCH_ROWS):
        least = min(least, np.int64(counters[row, (value * factors[row]) >> shift]))
    least = min(least + 1, COUNT_MAX)
    for row in range(SKETCH_ROWS):
        cell = (value * factors[row]) >> shift
        counters[row, cell] = max(np.int64(counters[row, cell]), least)
    return int(least)


@compiled(types.void(_COUNTERS))
def _halve(counters: Any) -> None:
    for row in range(SKETCH_ROWS):
        for cell in range(counters.shape[1]):
            counters[row, cell] //= 2


@compiled(types.int64(WORDS, types.int64, LONGS, WORDS, _WORDS, _LONGS, _COUNTERS, _LONGS, _LONGS, _LONGS))
def _see(
    ids: Any,
    now: Any,
    limits: Any,
    shifts: Any,
    keys: Any,
    seen: Any,
    counters: Any,
    added: Any,
    rows: Any,
    given: Any,
) -> int:
    """Fill `rows` and `given`; return how many were given. limits: admit_after, expire_after."""
    count = 0
    for place in range(len(ids)):
        value = ids[place]
        rows[place] = -1
        if value == 0:
            continue
        first: Any = np.int64(((value * BUCKET_FACTOR) >> np.uint64(1)) >> shifts[0]) * WAYS
        oldest = first
        for row in range(first, first + WAYS):
            if keys[row] == value:
                rows[place] = row
            elif seen[row] < seen[oldest]:
                oldest = row
        if rows[place] < 0:
            often = _count(value, shifts[1], _FACTORS, counters) >= limits[0]
            added[0] += 1
            if added[0] * 4 >= counters.shape[1]:
                added[0] //= 2
                _halve(counters)
            if not often or now - seen[oldest] <= limits[1]:
                continue
            keys[oldest], rows[place], given[count] = value, oldest, oldest
            count += 1
        seen[rows[place]] = now
    return count
