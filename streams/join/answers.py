"""The answers each waiting prediction has had: which event, what it said, how much it counts now.

Answers of a prediction are a list, newest first, in one table for all; free places are a list too, which begins at 0.
Among them may be one that the join made itself: for silence, or for all signals together (`rewards`).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import FLOATS, LONGS, WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.join.rows import NONE, TABLE, Mask, Slots, Table, Times

Floats = NDArray[np.float64]
Nodes = NDArray[np.int64]

ANSWER = np.dtype(
    [
        ("low", "u8"),
        ("high", "u8"),
        ("time", "i8"),
        ("label", "f8"),
        ("weight", "f8"),
        ("next", "i4"),
        ("revision", "i2"),
        ("own", "i2"),
    ],
    align=True,
)
"""An event that answered a prediction, its label and present weight, and how often that was revised; own: by us."""

ANSWERS = types.Array(numba.from_dtype(ANSWER), 1, "C")
NO_ANSWER = 0
FIRST = 1_024
_BOOLS = types.boolean[::1]


class Said(NamedTuple):
    """What events say: their ids, event times in ms, labels and weights."""

    events: Fingerprints
    times: Times
    labels: Floats
    weights: Floats


class Answers:
    """The lists; a row of the table of predictions has the head of its own, 0 for none."""

    def __init__(self) -> None:
        self.table: Table = np.zeros(1, ANSWER)
        self._count = 0

    def add(self, rows: Table, slots: Slots, said: Said, window_ms: int) -> Mask:
        """Note which events answer which predictions (slots, NONE for none), and return those that do.

        Not so an event that is more than a window older than the prediction or too late for it, or that has answered
        it before.
        """
        self._make_room(len(slots))
        answers: Mask = _answer(rows, self.table, slots, said.times, *said.events, said.labels, said.weights, window_ms)
        self._count += int(np.count_nonzero(answers))
        return answers

    def add_own(self, rows: Table, slots: Slots, labels: Floats, weights: Floats) -> None:
        """Note what we made of these predictions ourselves; each has nothing of the kind yet."""
        self._make_room(len(slots))
        _answer_ourselves(rows, self.table, slots, labels, weights)
        self._count += len(slots)

    def find(self, rows: Table, slots: Slots, events: Fingerprints) -> Nodes:
        """Return the answer of each event to a prediction (NONE for none), `NO_ANSWER` where it gave none."""
        nodes: Nodes = _find(rows, self.table, slots, *events)
        return nodes

    def revise(self, nodes: Nodes, labels: Floats, weights: Floats, revisions: NDArray[np.int16]) -> None:
        """Let answers count as given from now on."""
        self.table["label"][nodes], self.table["weight"][nodes] = labels, weights
        self.table["revision"][nodes] = revisions

    def forget(self, rows: Table, slots: Slots) -> None:
        """Forget all answers to these predictions."""
        self._count -= _forget(rows, self.table, slots)

    def _make_room(self, more: int) -> None:
        old = len(self.table)
        if self._count + more >= old:
            new = np.zeros(max(FIRST, more, old // 2), ANSWER)
            new["next"][:-1] = np.arange(old + 1, old + len(new))
            new["next"][-1] = self.table["next"][0]
            self.table = np.concatenate([self.table, new])
            self.table["next"][0] = old


@compiled(types.int64(TABLE, ANSWERS, types.int64))
def _push(rows: Table, answers: Table, slot: int) -> int:
    """Take a free place and put it first in the list of a prediction."""
    new = answers[0].next
    answers[0].next = answers[new].next
    answers[new].next = rows[slot].answer
    answers[new].revision = 0
    rows[slot].answer = new
    return int(new)


@compiled(_BOOLS(TABLE, ANSWERS, LONGS, LONGS, WORDS, WORDS, FLOATS, FLOATS, types.int64))
def _answer(
    rows: Table,
    answers: Table,
    slots: Slots,
    times: Times,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    labels: Floats,
    weights: Floats,
    window_ms: int,
) -> Mask:
    does = np.zeros(len(slots), np.bool_)
    for index in range(len(slots)):
        if slots[index] == NONE:
            continue
        row = rows[slots[index]]
        at = row.answer
        while at and (answers[at].low != low[index] or answers[at].high != high[index]):
            at = answers[at].next
        if at or not row.time - window_ms <= times[index] <= row.until:
            continue
        does[index] = True
        new = answers[_push(rows, answers, slots[index])]
        new.low, new.high, new.time = low[index], high[index], times[index]
        new.label, new.weight, new.own = labels[index], weights[index], 0
    return does


@compiled(types.void(TABLE, ANSWERS, LONGS, FLOATS, FLOATS))
def _answer_ourselves(rows: Table, answers: Table, slots: Slots, labels: Floats, weights: Floats) -> None:
    for index in range(len(slots)):
        new = answers[_push(rows, answers, slots[index])]
        new.low, new.high, new.time = 0, 0, rows[slots[index]].time
        new.label, new.weight, new.own = labels[index], weights[index], 1


@compiled(types.int64[::1](TABLE, ANSWERS, LONGS, WORDS, WORDS))
def _find(rows: Table, answers: Table, slots: Slots, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> Nodes:
    found = np.zeros(len(slots), np.int64)
    for index in range(len(slots)):
        if slots[index] == NONE:
            continue
        at = rows[slots[index]].answer
        while at and (answers[at].own or answers[at].low != low[index] or answers[at].high != high[index]):
            at = answers[at].next
        found[index] = at
    return found


@compiled(types.int64(TABLE, ANSWERS, LONGS))
def _forget(rows: Table, answers: Table, slots: Slots) -> int:
    """Free the answers of predictions; return how many those were."""
    count = 0
    for slot in slots:
        at = rows[slot].answer
        while at:
            after = answers[at].next
            answers[at].next, answers[0].next = answers[0].next, at
            at, count = after, count + 1
        rows[slot].answer = 0
    return count
