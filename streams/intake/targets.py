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
        if taken_over.any():
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
    goes_on, steps_on: whether the table's second of its target is that of the run, or the one before it.
    follows: whether the run before it is its target's second before it.
    """

    order: Longs
    run: Longs
    start: Longs
    slot: Longs
    second: Longs
    first: Mask
    goes_on: Mask
    steps_on: Mask
    follows: Mask

    @property
    def end(self) -> Longs:
        """The last sorted row of each run."""
        end = np.empty_like(self.start)
        end[:-1], end[-1] = self.start[1:] - 1, len(self.order) - 1
        return end

    @property
    def last(self) -> Mask:
        """Whether a run is the last of its target in the block."""
        last = np.ones_like(self.first)
        last[:-1] = self.first[1:]
        return last


def runs_of(slots: Longs, seconds: Longs, table: TargetTable) -> Runs:
    """Cut rows, of which there is at least one, into runs."""
    order = np.argsort(slots, kind="stable")
    slot = slots[order]
    new_target = changes(slot)
    origin = int(seconds.min())
    relative = seconds[order] - origin
    relative[new_target] = np.maximum(relative[new_target], table.second[slot[new_target]] - origin)
    # One running maximum for all targets: each is lifted above the one before it.
    lift = np.cumsum(new_target) << _SECOND_BITS
    second = np.maximum.accumulate(relative + lift) - lift + origin
    new_run = new_target | changes(second)
    start = new_run.nonzero()[0]
    return _linked(order, np.cumsum(new_run) - 1, start, slot[start], second[start], new_target[start], table)


def _linked(
    order: Longs, run: Longs, start: Longs, slot: Longs, second: Longs, first: Mask, table: TargetTable
) -> Runs:
    """Find out which runs continue what the table holds, or one another."""
    held = table.second[slot]
    goes_on, steps_on = first & (held == second), first & (held + 1 == second)
    follows = ~first
    follows[1:] &= second[1:] == second[:-1] + 1
    return Runs(order, run, start, slot, second, first, goes_on, steps_on, follows)


def changes(values: NDArray[np.integer]) -> Mask:
    """Return which values differ from the one before them; the first does."""
    changes = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def running_sums(runs: Runs, values: Floats, table: TargetTable, columns: slice) -> tuple[Floats, Floats]:
    """Return, for each sorted row, the sums of its second up to and with it, and those of the second before.

    `values` has the sorted rows and these columns of the sums. What the table holds of the two seconds is included.
    """
    held, held_before = table.sums[runs.slot, columns], table.sums_before[runs.slot, columns]
    total = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=total[1:])
    sums = total[1:] + (np.where(runs.goes_on[:, None], held, 0.0) - total[runs.start])[runs.run]
    previous = np.zeros_like(held)
    # What follows has the run before it, which ends where it starts.
    previous[runs.follows] = sums[runs.start[runs.follows] - 1]
    previous[runs.steps_on] = held[runs.steps_on]
    previous[runs.goes_on] = held_before[runs.goes_on]
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
