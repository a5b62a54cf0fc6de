"""What each target got in the present and the previous second, and what it usually gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.intake.fingerprint import Fingerprints

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

COUNT, FRESH, VALUE, USUAL = range(4)
"""Columns of the sums: events, those from actors without history, their values, the values usual for their kinds."""

_NEVER = np.iinfo(np.int64).min // 4
_SECOND_BITS = 40
_FREE_SECONDS = 600


class TargetTable:
    """A table of fixed size with one slot for a target; a slot is given away when its target was silent long enough."""

    def __init__(self, slots: int) -> None:
        self._mask = np.uint64(slots - 1)
        self.owner = np.zeros(slots, np.uint64)
        self.second = np.full(slots, _NEVER, np.int64)
        self.sums = np.zeros((slots, 4))
        self.sums_before = np.zeros((slots, 4))
        self.rate = np.zeros(slots)

    def claim(self, targets: Fingerprints, seconds: Longs) -> tuple[Longs, Mask]:
        """Return the slot of every target, and whether the slot is its own: without one it is not scored.

        Targets are distinct; `seconds` says when each was first seen in the block.
        """
        slots = (targets.high & self._mask).astype(np.int64)
        keys = targets.low | np.uint64(1)
        taken_over = (self.owner[slots] != keys) & (seconds - self.second[slots] > _FREE_SECONDS)
        self._clear(slots[taken_over])
        self.owner[slots[taken_over]] = keys[taken_over]
        return slots, self.owner[slots] == keys

    def _clear(self, slots: Longs) -> None:
        self.second[slots] = _NEVER
        self.sums[slots] = self.sums_before[slots] = 0.0
        self.rate[slots] = 0.0


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of a block sorted by target and, within it, in order of arrival, cut into runs of one second.

    The second of a row is the largest of its target so far: a late event counts as happening now.
    order: the sorted rows. run: run of each sorted row. start: first sorted row of each run. slot, second: of each run.
    first: whether a run is the first of its target in the block.
    """

    order: Longs
    run: Longs
    start: Longs
    slot: Longs
    second: Longs
    first: Mask

    @property
    def end(self) -> Longs:
        """The last sorted row of each run."""
        return np.append(self.start[1:], len(self.order)) - 1

    @property
    def last(self) -> Mask:
        """Whether a run is the last of its target in the block."""
        return np.append(self.first[1:], True)


def runs_of(slots: Longs, seconds: Longs, table: TargetTable) -> Runs:
    """Cut rows, of which there is at least one, into runs."""
    order = np.argsort(slots, kind="stable")
    slot = slots[order]
    new_target = np.append(True, slot[1:] != slot[:-1])
    origin = int(seconds.min())
    relative = seconds[order] - origin
    relative[new_target] = np.maximum(relative[new_target], table.second[slot[new_target]] - origin)
    # One running maximum for all targets: each is lifted above the one before it.
    lift = np.cumsum(new_target) << _SECOND_BITS
    second = np.maximum.accumulate(relative + lift) - lift + origin
    new_run = new_target | np.append(True, second[1:] != second[:-1])
    start = np.flatnonzero(new_run)
    return Runs(order, np.cumsum(new_run) - 1, start, slot[start], second[start], new_target[start])


def running_sums(runs: Runs, values: Floats, table: TargetTable, columns: slice) -> tuple[Floats, Floats]:
    """Return, for each sorted row, the sums of its second up to and with it, and those of the second before.

    `values` has the sorted rows and these columns of the sums. What the table holds of the two seconds is included.
    """
    held, held_before = table.sums[runs.slot, columns], table.sums_before[runs.slot, columns]
    before_target = np.where(runs.first, table.second[runs.slot], _NEVER)
    goes_on = before_target == runs.second
    total = np.cumsum(values, axis=0)
    up_to_run = np.where((runs.start > 0)[:, None], total[runs.start - 1], 0.0)
    sums = total + (np.where(goes_on[:, None], held, 0.0) - up_to_run)[runs.run]
    previous = np.zeros_like(held)
    follows = np.append(False, runs.second[1:] == runs.second[:-1] + 1) & ~runs.first
    previous[follows] = sums[runs.end[:-1]][follows[1:]]
    steps_on = before_target + 1 == runs.second
    previous[steps_on] = held[steps_on]
    previous[goes_on] = held_before[goes_on]
    return sums, previous[runs.run]


def store(runs: Runs, sums: Floats, before: Floats, calm: Floats, table: TargetTable, baseline_ms: int) -> None:
    """Keep the last run of every target, and let the events marked in `calm` (1 or 0) teach its usual rate."""
    last = runs.last
    slot, second, end = runs.slot[last], runs.second[last], runs.end[last]
    learned = np.add.reduceat(calm, runs.start[runs.first])
    passed_s = np.maximum(second - table.second[slot], 0).astype(np.float64)
    scale_s = baseline_ms / 1000
    table.rate[slot] = table.rate[slot] * np.exp(-passed_s / scale_s) + learned / scale_s
    table.second[slot] = second
    table.sums[slot] = sums[end]
    table.sums_before[slot] = before[end]
