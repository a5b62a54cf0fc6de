"""Predictions that wait for feedback, and the feedback each has had."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.join.rows import NONE, TABLE, Mask, Rows, Slots, Table, Times

ANSWER = np.dtype([("low", "u8"), ("high", "u8"), ("next", "i4")], align=True)
"""An event that answered a prediction, in a list of those that did; or free, in the list that begins at 0."""

_ANSWERS = types.Array(numba.from_dtype(ANSWER), 1, "C")
ANSWERS_FIRST = 1_024


class Predictions:
    """One row for each prediction_id: of several copies the one with the newest event time stays, as yet unanswered.

    That rule, unlike "the first one", gives the same rows when they are folded again from the middle of the log.
    The caller bounds how many there are. One with 15 numeric features was measured to cost about 390 bytes: 260 as
    encoded, 80 in the table and its lists, and the rest is room to grow; its first answer costs 40 more.
    """

    def __init__(self, window_ms: int) -> None:
        self.rows = Rows(window_ms)
        self._answers: Table = np.zeros(1, ANSWER)
        self._answers_count = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, ids: Fingerprints, times: Times, values: Sequence[bytes | None], untils: Times) -> Slots:
        """Add predictions: encoded, with the last moment at which feedback on them counts.

        Returns the slots of those that stay, in their order; the others were copies.
        """
        added = self.rows.add(ids, times, values, untils)
        copies = self.rows.copies(added)
        if not len(copies):
            return added
        self.drop(copies)
        return added[~np.isin(added, copies)]

    def answer(self, slots: Slots, times: Times, events: Fingerprints, window_ms: int) -> Mask:
        """Note which events answer which predictions (slots, NONE for none), and return those that do.

        Not so an event that is more than a window older than the prediction or too late for it, or that has answered
        it before.
        """
        self._make_room(len(slots))
        answers: Mask = _answer(self.rows.table, self._answers, slots, times, *events, window_ms)
        self._answers_count += int(np.count_nonzero(answers))
        return answers

    def expire(self, horizon_ms: int) -> tuple[Slots, Slots]:
        """Return the predictions at or before a moment: the answered ones, then those without feedback."""
        due = self.rows.through(horizon_ms)
        answered = self.rows.table["answer"][due] > 0
        return due[answered], due[~answered]

    def drop(self, slots: Slots) -> None:
        """Forget predictions."""
        if len(slots):
            self._answers_count -= _forget(self.rows.table, self._answers, slots)
            self.rows.drop(slots)

    def _make_room(self, more: int) -> None:
        old = len(self._answers)
        if self._answers_count + more >= old:
            new = np.zeros(max(ANSWERS_FIRST, more, old // 2), ANSWER)
            new["next"][:-1] = np.arange(old + 1, old + len(new))
            new["next"][-1] = self._answers["next"][0]
            self._answers = np.concatenate([self._answers, new])
            self._answers["next"][0] = old


@compiled(types.boolean[::1](TABLE, _ANSWERS, LONGS, LONGS, WORDS, WORDS, types.int64))
def _answer(
    rows: Table,
    answers: Table,
    slots: Slots,
    times: Times,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
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
        new = answers[0].next
        answers[0].next = answers[new].next
        answers[new].low, answers[new].high, answers[new].next = low[index], high[index], row.answer
        row.answer = new
    return does


@compiled(types.int64(TABLE, _ANSWERS, LONGS))
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
