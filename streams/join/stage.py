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
from itertools import islice
from typing import Literal

import numpy as np

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log, Output, Task
from rheostat.streams.intake.deadletter import dead_letters
from rheostat.streams.join.arrivals import Arrived, Entries, read_entries, read_predictions
from rheostat.streams.join.books import FEEDBACK_IN, PREDICTIONS_IN, Books
from rheostat.streams.join.examples import Found, Pairs, Silent, examples
from rheostat.streams.join.labels import Codes
from rheostat.streams.join.predictions import Predictions
from rheostat.streams.join.restore import restore
from rheostat.streams.join.rows import NONE, Mask, Rows, Slots
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
        """Rebuild what waits from the tails of both topics and of our own output.

        Where the ledger is no source, `committed` has nothing on it: then all of it was joined.
        """
        (partition,) = partitions
        progress = newest_progress(committed.values())
        waiting = restore(log, partition, committed, progress, self._settings.window_ms)
        return JoinTask(self._settings, partition, progress, *waiting)

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Join what came of all tasks together."""
        return _process([task for task in tasks if isinstance(task, JoinTask)], blocks, now_ms)


class JoinTask:
    """The join of one partition number."""

    def __init__(
        self, settings: JoinSettings, partition: int, progress: Progress, predictions: Predictions, feedback: Rows
    ) -> None:
        self.settings = settings
        self.partition = partition
        self._progress = progress
        self._predictions = predictions
        self._feedback = feedback
        self._kept = Books(progress.counts)

    @property
    def counts(self) -> Mapping[str, int]:
        """The books, see `books`."""
        return self._kept.counts

    @property
    def books(self) -> Mapping[str, Mapping[str, int]]:
        """The counts under the name of the stage."""
        return {"join": self.counts}

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Join what came of this partition number alone."""
        return _process([self], [blocks], now_ms)[0]

    def join(self, predictions: Sequence[Block], entries: Sequence[Entries], now_ms: int) -> Output:
        """Join predictions and ledger entries of this partition number alone."""
        return join([self], [predictions], [entries], now_ms)[0]

    def settle(self, arrived: Sequence[Arrived], entries: Sequence[Entries], now_ms: int) -> Found:
        """Join what came with what waits. Predictions go first, so that pairs of one call need not wait."""
        pairs = [pair for each in arrived for pair in self._admit(each)]
        pairs += [self._take_entries(each) for each in entries]
        newest_prediction = max((each.newest_ms for each in arrived), default=NEVER)
        newest_entry = max((int(each.times_ms.max(initial=NEVER)) for each in entries), default=NEVER)
        silent = self._advance(newest_prediction, newest_entry, now_ms)
        self._kept.settle(len(self._predictions), len(self._feedback))
        self._progress = replace(self._progress, commits=self._progress.commits + 1, counts=self._kept.counts)
        return Found(self.partition, pairs, silent)

    def metadata(self) -> str:
        """Return what must be known exactly as of a commit, as JSON."""
        return self._progress.dumps()

    def _admit(self, arrived: Arrived) -> list[Pairs]:
        timely = arrived.after(self._progress.predictions_horizon)
        before = len(self._predictions)
        admitted = self._predictions.add(timely.ids, timely.times, timely.values, timely.untils)
        self._kept.add(PREDICTIONS_IN, len(arrived) + len(arrived.failures))
        self._kept.add("invalid_predictions", len(arrived.failures))
        self._kept.add("late_predictions", len(arrived) - len(timely))
        self._kept.add("duplicate_predictions", len(timely) - len(self._predictions) + before)
        return self._join_waiting(admitted) if len(self._feedback) else []

    def _join_waiting(self, admitted: Slots) -> list[Pairs]:
        which, waiting = self._feedback.find_all(self._predictions.rows.ids(admitted))
        if not len(waiting):
            return []
        records = codec.decode_own(catalogue.LEDGER, self._feedback.values(waiting))
        entries = Entries(records, self._feedback.times(waiting))
        pairs, made = self._pair(admitted[which], entries, entries.codes())
        self._feedback.drop(waiting[pairs])
        return [made]

    def _take_entries(self, entries: Entries) -> Pairs:
        codes = entries.codes()
        usable = entries.usable(codes)
        timely = usable & (entries.times_ms > self._progress.feedback_horizon)
        self._kept.add(FEEDBACK_IN, len(entries))
        self._kept.add("unsupported", len(entries) - int(np.count_nonzero(usable)))
        self._kept.add("late", int(np.count_nonzero(usable)) - int(np.count_nonzero(timely)))
        slots = self._predictions.rows.find(entries.prediction_ids())
        pairs, made = self._pair(np.where(timely, slots, NONE), entries, codes)
        waits = timely & ~pairs
        if waits.any():
            rest = entries.where(waits)
            self._feedback.add(rest.prediction_ids(), rest.times_ms, rest.encoded())
        return made

    def _pair(self, slots: Slots, entries: Entries, codes: Codes) -> tuple[Mask, Pairs]:
        """Join entries with the predictions found for them; return which could be."""
        pairs = self._predictions.answer(slots, entries.times_ms, entries.event_ids(), self.settings.window_ms)
        taken = entries.where(pairs)
        self._kept.add("joined", len(taken))
        values = self._predictions.rows.values(slots[pairs])
        return pairs, Pairs(values, taken.records, codes[pairs], taken.times_ms)

    def _advance(self, predictions_ms: int, feedback_ms: int, now_ms: int) -> Silent | None:
        """Move event time on; let go of what waited long enough, then of what there is no room for."""
        self._progress = self._progress.seen(predictions_ms, feedback_ms, now_ms).advanced(self.settings.window_ms)
        dangling = self._feedback.through(self._progress.feedback_horizon)
        self._kept.add("dangling", len(dangling))
        self._feedback.drop(dangling)
        answered, silent = self._predictions.expire(self._progress.predictions_horizon)
        self._kept.add("answered", len(answered))
        default = self.settings.default_label is not None
        self._kept.add("default_emitted" if default else "unanswered", len(silent))
        rows = self._predictions.rows
        given = Silent(rows.values(silent), rows.times(silent)) if default and len(silent) else None
        self._predictions.drop(answered)
        self._predictions.drop(silent)
        self._make_room()
        return given

    def _make_room(self) -> None:
        """Give up the oldest by event time, a little more than needed. The horizon moves with them."""
        if horizon := _excess(self._predictions.rows, self.settings.waiting_predictions_max):
            given_up = np.concatenate(self._predictions.expire(horizon))
            self._kept.add("evicted_predictions", len(given_up))
            self._predictions.drop(given_up)
            self._progress = replace(self._progress, predictions_horizon=horizon)
        if horizon := _excess(self._feedback, self.settings.waiting_feedback_max):
            lost = self._feedback.through(horizon)
            self._kept.add("evicted", len(lost))
            self._feedback.drop(lost)
            self._progress = replace(self._progress, feedback_horizon=horizon)


def join(
    tasks: Sequence[JoinTask],
    predictions: Sequence[Sequence[Block]],
    entries: Sequence[Sequence[Entries]],
    now_ms: int,
) -> list[Output]:
    """Join what came of each task's partition number; all tasks are of one stage, and share decoding and encoding."""
    arrived = iter(read_predictions([block for own in predictions for block in own]))
    shown = [list(islice(arrived, len(own))) for own in predictions]
    found = [task.settle(own, said, now_ms) for task, own, said in zip(tasks, shown, entries, strict=True)]
    outputs = []
    for task, blocks, own, made in zip(tasks, predictions, shown, examples(found, tasks[0].settings), strict=True):
        letters = dead_letters(
            task.partition, blocks, [(at, bad) for at, each in enumerate(own) for bad in each.failures], now_ms
        )
        outputs.append(Output([block for block in (made, letters) if block is not None], task.metadata()))
    return outputs


def _process(tasks: Sequence[JoinTask], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
    predictions = [[block for block in own if block.topic == catalogue.PREDICTIONS] for own in blocks]
    ledger = [[block for block in own if block.topic == catalogue.LEDGER] for own in blocks]
    entries = iter(read_entries([block for own in ledger for block in own]))
    return join(tasks, predictions, [list(islice(entries, len(own))) for own in ledger], now_ms)


def _excess(waiting: Rows, records_max: int) -> int:
    """Return the event time up to which records must go so that the rest fits; 0 when all fit."""
    if len(waiting) <= records_max:
        return 0
    return waiting.oldest(len(waiting) - records_max + records_max // 64)
