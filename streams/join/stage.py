"""The join as a stage: predictions and ledger entries in, examples out, at the same partition number.

Either side may come first and waits for the other, see `window` for how long. An example is emitted as soon as both are
there; several signals on one prediction give one example each, and no event gives a prediction two. When the window
closes on a prediction without feedback it gets the default label, if there is one.

The ledger holds every event once (a law of intake), so the join does not look for repeated events elsewhere.
Retractions are counted as unsupported: they take nothing back yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import Log, Output
from rheostat.streams.intake.deadletter import dead_letters
from rheostat.streams.join import examples
from rheostat.streams.join.arrivals import Arrivals, read_feedback, read_predictions
from rheostat.streams.join.books import FEEDBACK_IN, PREDICTIONS_IN, Books
from rheostat.streams.join.examples import Examples
from rheostat.streams.join.feedback import WaitingFeedback
from rheostat.streams.join.predictions import MISSING, Predictions
from rheostat.streams.join.restore import restore
from rheostat.streams.join.rows import Mask, Serials, Times
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.window import NEVER, Progress, newest_progress


class JoinStage:
    """Makes a `JoinTask` for each partition number."""

    name = "join"
    sources = (catalogue.PREDICTIONS, catalogue.LEDGER)
    assignment: Literal["group"] = "group"
    tick_ms = None

    def __init__(self, settings: JoinSettings) -> None:
        self._settings = settings

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> JoinTask:
        """Rebuild what waits from the tails of both topics and of our own output."""
        (partition,) = partitions
        progress = newest_progress(committed.values())
        waiting = restore(log, partition, committed, progress, self._settings.window_ms)
        return JoinTask(self._settings, partition, progress, *waiting)


class JoinTask:
    """The join of one partition number."""

    def __init__(
        self,
        settings: JoinSettings,
        partition: int,
        progress: Progress,
        predictions: Predictions,
        feedback: WaitingFeedback,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._progress = progress
        self._predictions = predictions
        self._feedback = feedback
        self._books = Books(progress.counts)

    @property
    def counts(self) -> Mapping[str, int]:
        """The books, see `books`."""
        return self._books.counts

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Join what came with what waits. Predictions go first, so that pairs of one call need not wait."""
        predictions = [block for block in blocks if block.topic == catalogue.PREDICTIONS]
        feedback = [block for block in blocks if block.topic == catalogue.LEDGER]
        letters, made = self._take_predictions(predictions, now_ms)
        made += [self._take_feedback(block) for block in feedback]
        made.append(self._advance(_newest(predictions), _newest(feedback), now_ms))
        self._books.settle(len(self._predictions), len(self._feedback))
        self._progress = replace(self._progress, commits=self._progress.commits + 1, counts=self._books.counts)
        out = (examples.encode(made, self._partition), letters)
        return Output([block for block in out if block is not None], self._progress.dumps())

    def _take_predictions(self, blocks: Sequence[Block], now_ms: int) -> tuple[OutBlock | None, list[Examples]]:
        made, failures = [], []
        for index, block in enumerate(blocks):
            arrived, failed = read_predictions(block)
            failures += [(index, failure) for failure in failed]
            self._books.add(PREDICTIONS_IN, len(block))
            self._books.add("invalid_predictions", len(failed))
            made.append(self._admit(arrived))
        return dead_letters(blocks, failures, now_ms), made

    def _admit(self, arrived: Arrivals) -> Examples:
        timely = arrived.after(self._progress.predictions_horizon)
        before = len(self._predictions)
        ids = self._predictions.add(timely.batch, timely.ids, timely.times)
        self._books.add("late_predictions", len(arrived) - len(timely))
        self._books.add("duplicate_predictions", len(timely) - len(self._predictions) + before)
        return self._join_waiting(ids)

    def _join_waiting(self, ids: Sequence[str]) -> Examples:
        serials = self._feedback.find(ids)
        if not len(serials):
            return examples.NONE
        rows = self._feedback.rows
        found = self._predictions.find(rows.keys(serials))
        pairs, made = self._pair(found, rows.take(serials), rows.times(serials))
        self._feedback.drop(serials[pairs])
        return made

    def _take_feedback(self, block: Block) -> Examples:
        arrived, unsupported = read_feedback(block)
        timely = arrived.after(self._progress.feedback_horizon)
        self._books.add(FEEDBACK_IN, len(block))
        self._books.add("unsupported", unsupported)
        self._books.add("late", len(arrived) - len(timely))
        found = self._predictions.find(timely.ids.tolist())
        pairs, made = self._pair(found, timely.batch, timely.times)
        rest = timely.where(~pairs)
        self._feedback.add(rest.batch, rest.ids, rest.times)
        return made

    def _pair(self, serials: Serials, feedback: pa.RecordBatch, times: Times) -> tuple[Mask, Examples]:
        """Join entries with the predictions found for them; return which could be, and their examples."""
        rows = np.flatnonzero(serials != MISSING)
        if not len(rows):
            return np.zeros(len(serials), np.bool_), examples.NONE
        predictions = self._predictions.rows.take(serials[rows])
        fits = times[rows] >= self._predictions.rows.times(serials[rows]) - self._settings.window_ms
        fits &= times[rows] <= _expiry(predictions)
        kept = rows[fits]
        events = feedback.column("event_id").take(pa.array(kept)).to_numpy(zero_copy_only=False).tolist()
        first = self._predictions.answer(serials[kept], events)
        fits[fits] = first
        rows = rows[fits]
        paired = np.zeros(len(serials), np.bool_)
        paired[rows] = True
        self._books.add("joined", len(rows))
        taken = predictions if fits.all() else predictions.filter(pa.array(fits))
        return paired, examples.joined(taken, feedback.take(pa.array(rows)), times[rows])

    def _advance(self, predictions_ms: int, feedback_ms: int, now_ms: int) -> Examples:
        """Move event time on; let go of what waited long enough, then of what there is no room for."""
        self._progress = self._progress.seen(predictions_ms, feedback_ms, now_ms).advanced(self._settings.window_ms)
        dangling = self._feedback.expire(self._progress.feedback_horizon)
        self._books.add("dangling", len(dangling))
        self._feedback.drop(dangling)
        answered, silent = self._predictions.expire(self._progress.predictions_horizon)
        self._books.add("answered", len(answered))
        defaults = self._default(silent)
        self._predictions.drop(np.concatenate([answered, silent]))
        self._make_room()
        return defaults

    def _default(self, silent: Serials) -> Examples:
        label = self._settings.default_label
        if label is None:
            self._books.add("unanswered", len(silent))
            return examples.NONE
        self._books.add("default_emitted", len(silent))
        rows = self._predictions.rows
        return examples.defaulted(
            rows.take(silent),
            rows.times(silent),
            self._partition,
            label=label,
            weight=self._settings.default_weight,
            window_ms=self._settings.window_ms,
        )

    def _make_room(self) -> None:
        """Give up the oldest by event time, a little more than needed. The horizon moves with them."""
        if horizon := _excess(self._predictions, self._settings.waiting_predictions_max):
            given_up = np.concatenate(self._predictions.expire(horizon))
            self._books.add("evicted_predictions", len(given_up))
            self._predictions.drop(given_up)
            self._progress = replace(self._progress, predictions_horizon=horizon)
        if horizon := _excess(self._feedback, self._settings.waiting_feedback_max):
            lost = self._feedback.expire(horizon)
            self._books.add("evicted", len(lost))
            self._feedback.drop(lost)
            self._progress = replace(self._progress, feedback_horizon=horizon)


def _excess(waiting: Predictions | WaitingFeedback, records_max: int) -> int:
    """Return the event time up to which records must go so that the rest fits; 0 when all fit."""
    if len(waiting) <= records_max:
        return 0
    return waiting.rows.oldest(len(waiting) - records_max + records_max // 64)


def _newest(blocks: Sequence[Block]) -> int:
    return max((max(block.timestamps_ms) for block in blocks), default=NEVER)


def _expiry(predictions: pa.RecordBatch) -> Times:
    """Return the last moment at which feedback counts; for ever where the prediction names none."""
    expires = predictions.column("expires_at").cast(pa.int64()).fill_null(np.iinfo(np.int64).max)
    return np.asarray(expires, np.int64)
