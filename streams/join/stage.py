"""The join as a stage: predictions, ledger entries and corrections in, examples out, at the same partition number.

Either side may come first and waits for the other, see `window` for how long. An example is emitted as soon as both are
there; several signals on one prediction give one example each, and no event gives a prediction two, unless a reward
function makes one of all (`rewards`). When the window closes on a prediction without feedback it gets the default
label, if there is one. What changes afterwards is a revision of the example: a correction, a retraction, and, for
as long as the prediction is kept, feedback that comes late.

The ledger holds every event once (a law of intake), so the join does not look for repeated events elsewhere.
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
from rheostat.streams.join.answers import NO_ANSWER, Floats, Nodes, Said
from rheostat.streams.join.arrivals import Arrived, Entries, read_entries, read_predictions
from rheostat.streams.join.books import CHANGES_IN, FEEDBACK_IN, PREDICTIONS_IN, Books
from rheostat.streams.join.changes import Changes, Remembered, all_of, read_changes, retractions
from rheostat.streams.join.examples import NOTED, Changed, Closed, Found, Pairs, Revised, examples, first_time
from rheostat.streams.join.labels import Codes, labels, retract
from rheostat.streams.join.predictions import Predictions
from rheostat.streams.join.restore import Waiting, restore
from rheostat.streams.join.rows import NONE, Mask, Rows, Slots
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.window import NEVER, Progress, newest_progress


class JoinStage:
    """Makes a `JoinTask` for each partition number."""

    name = "join"
    sources = (catalogue.PREDICTIONS, catalogue.LEDGER, catalogue.CORRECTIONS)
    assignment: Literal["group"] = "group"
    tick_ms = None

    def __init__(self, settings: JoinSettings) -> None:
        self._settings = settings

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> JoinTask:
        """Rebuild what waits from the tails of these topics and of our own output.

        Where the ledger is no source, `committed` has nothing on it: then all of it was joined.
        """
        (partition,) = partitions
        progress = newest_progress(committed.values())
        waiting = restore(log, partition, committed, progress, self._settings)
        return JoinTask(self._settings, partition, progress, waiting)

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Join what came of all tasks together."""
        return _process([task for task in tasks if isinstance(task, JoinTask)], blocks, now_ms)


class JoinTask:
    """The join of one partition number."""

    def __init__(self, settings: JoinSettings, partition: int, progress: Progress, waiting: Waiting) -> None:
        self.settings = settings
        self.partition = partition
        self._progress = progress
        self._predictions: Predictions = waiting.predictions
        self._feedback: Rows = waiting.feedback
        self._changes: Remembered = waiting.changes
        self._kept = Books(progress.counts)
        self._noted = 0 if settings.reward == "each" else NOTED

    @property
    def counts(self) -> Mapping[str, int]:
        """The books, see `books`."""
        return self._kept.counts

    @property
    def books(self) -> Mapping[str, Mapping[str, int]]:
        """The counts under the name of the stage."""
        return {"join": self.counts}

    @property
    def waiting_bytes(self) -> Mapping[str, int]:
        """How many bytes of what waits are in memory, and how large its files are."""
        both = (self._predictions.rows, self._feedback)
        return {"memory": sum(each.memory_bytes for each in both), "disk": sum(each.disk_bytes for each in both)}

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Join what came of this partition number alone."""
        return _process([self], [blocks], now_ms)[0]

    def settle(
        self, arrived: Sequence[Arrived], entries: Sequence[Entries], corrections: Sequence[Changes], now_ms: int
    ) -> Found:
        """Join what came with what waits.

        Predictions go before feedback, so that pairs of one call need not wait. Changes are known before both, so that
        what they concern counts at once what it will count, and revise last what had taught before.
        """
        codes = [each.codes() for each in entries]
        taken_back = [retractions(each, own) for each, own in zip(entries, codes, strict=True)]
        changes = [*corrections, *(each for each in taken_back if each is not None)]
        late: list[Slots] = []
        for each in changes:
            self._changes.note(each, self._progress.kept_horizon)
        pairs = [pair for each in arrived for pair in self._admit(each, late)]
        pairs += [self._take_entries(each, own, late) for each, own in zip(entries, codes, strict=True)]
        changed = self._change(all_of(changes), late) if changes else None
        newest_prediction = max((each.newest_ms for each in arrived), default=NEVER)
        newest_entry = max((int(each.times_ms.max(initial=NEVER)) for each in entries), default=NEVER)
        closed = self._advance(newest_prediction, newest_entry, now_ms, late)
        self._kept.settle(len(self._predictions), len(self._feedback))
        self._progress = replace(self._progress, commits=self._progress.commits + 1, counts=self._kept.counts)
        return Found(self.partition, pairs, changed, closed)

    def metadata(self) -> str:
        """Return what must be known exactly as of a commit, as JSON."""
        return self._progress.dumps()

    def _change(self, changes: Changes, late: list[Slots]) -> Changed | None:
        """Return the revisions of what changes concern, and let `late` know of the predictions."""
        newest = changes.newest_of_each()
        slots = self._predictions.rows.find(newest.prediction_ids())
        answers = self._predictions.answers_of(slots, newest.event_ids())
        remembered = newest.times > self._progress.kept_horizon
        keeps = np.where(remembered, self._changes.keeps(newest.event_ids()), newest.numbers("keeps"))
        weights = newest.numbers("weight") * keeps
        revising = (answers != NO_ANSWER) & (weights != self._predictions.weights_of(answers))
        gone = self._gone(newest, slots)
        self._kept.add(CHANGES_IN, len(changes))
        self._kept.add("revising", int(np.count_nonzero(revising)))
        self._kept.add("after_window", int(np.count_nonzero(gone)))
        self._kept.add("remembered", len(changes) - int(np.count_nonzero(revising | gone)))
        late.append(slots[revising])
        told = revising | gone
        if not told.any():
            return None
        slots, answers = np.where(revising, slots, NONE)[told], np.where(revising, answers, NO_ANSWER)[told]
        return self._revised(newest.where(told), slots, answers, weights[told])

    def _gone(self, changes: Changes, slots: Slots) -> Mask:
        """Return which changes are about predictions that are kept no more, whose examples were single signals."""
        if self._noted:
            return np.zeros(len(changes), np.bool_)
        named = np.asarray(changes.columns.column("prediction_id").is_valid(), np.bool_)
        gone: Mask = named & (slots == NONE) & (self._feedback.find(changes.prediction_ids()) == NONE)
        return gone

    def _revised(self, changes: Changes, slots: Slots, answers: Nodes, weights: Floats) -> Changed:
        """Let answers (`NO_ANSWER` where it is gone) count as given, and say what they counted before."""
        known = answers != NO_ANSWER
        was = np.where(known, self._predictions.weights_of(answers), changes.numbers("weight"))
        said = np.where(known, self._predictions.labels_of(answers), 0.0)
        revisions = np.ones(len(changes), np.int64)
        revisions[known] = self._predictions.revise(answers[known], said[known], weights[known])
        counts = Revised(said, weights, said, was, self._noted - revisions if self._noted else revisions)
        rows = self._predictions.rows
        values: list[bytes | None] = [None] * len(changes)
        for at, value in zip(np.flatnonzero(known).tolist(), rows.values(slots[known]), strict=True):
            values[at] = value
        # Not before its prediction: what waits is rebuilt from the examples since the oldest that does.
        times = np.where(known, np.maximum(changes.times, rows.times(slots)), changes.times)
        return Changed(values, changes, times, counts)

    def _admit(self, arrived: Arrived, late: list[Slots]) -> list[Pairs]:
        timely = arrived.after(self._progress.kept_horizon)
        before = len(self._predictions)
        admitted = self._predictions.add(timely.ids, timely.times, timely.values, timely.untils, timely.positive)
        self._kept.add(PREDICTIONS_IN, len(arrived) + arrived.shadows + len(arrived.failures))
        self._kept.add("shadow_predictions", arrived.shadows)
        self._kept.add("invalid_predictions", len(arrived.failures))
        self._kept.add("late_predictions", len(arrived) - len(timely))
        self._kept.add("duplicate_predictions", len(timely) - len(self._predictions) + before)
        late.append(admitted)
        return self._join_waiting(admitted, late) if len(self._feedback) else []

    def _join_waiting(self, admitted: Slots, late: list[Slots]) -> list[Pairs]:
        which, waiting = self._feedback.find_all(self._predictions.rows.ids(admitted))
        if not len(waiting):
            return []
        records = codec.decode_own(catalogue.LEDGER, self._feedback.values(waiting))
        entries = Entries(records, self._feedback.times(waiting))
        pairs, made = self._pair(admitted[which], entries, entries.codes(), late)
        self._feedback.drop(waiting[pairs])
        return [made]

    def _take_entries(self, entries: Entries, codes: Codes, late: list[Slots]) -> Pairs:
        usable = entries.usable(codes)
        timely = usable & (entries.times_ms > self._progress.feedback_horizon)
        retracting = int(np.count_nonzero(retract(codes)))
        self._kept.add(FEEDBACK_IN, len(entries))
        self._kept.add("retracting", retracting)
        self._kept.add("unsupported", len(entries) - int(np.count_nonzero(usable)) - retracting)
        self._kept.add("late", int(np.count_nonzero(usable)) - int(np.count_nonzero(timely)))
        slots = self._predictions.rows.find(entries.prediction_ids())
        pairs, made = self._pair(np.where(timely, slots, NONE), entries, codes, late)
        waits = timely & ~pairs
        if waits.any():
            rest = entries.where(waits)
            self._feedback.add(rest.prediction_ids(), rest.times_ms, rest.encoded())
        return made

    def _pair(self, slots: Slots, entries: Entries, codes: Codes, late: list[Slots]) -> tuple[Mask, Pairs]:
        """Join entries with the predictions found for them; return which could be."""
        events = entries.event_ids()
        label = labels(codes, entries.numbers("value"), self._predictions.positive(slots))
        weight = entries.numbers("weight")
        if len(self._changes):
            weight = weight * self._changes.keeps(events)
        said = Said(events, entries.times_ms, label, weight)
        pairs = self._predictions.answer(slots, said, self.settings.window_ms)
        taken = entries.where(pairs)
        self._kept.add("joined", len(taken))
        late.append(slots[pairs])
        values = self._predictions.rows.values(slots[pairs])
        counts = first_time(label[pairs], weight[pairs], self._noted)
        return pairs, Pairs(values, taken.records, taken.times_ms, counts)

    def _advance(self, predictions_ms: int, feedback_ms: int, now_ms: int, late: Sequence[Slots]) -> Closed | None:
        """Move event time on; let go of what waited long enough, then of what there is no room for."""
        before = self._progress.predictions_horizon
        seen = self._progress.seen(predictions_ms, feedback_ms, now_ms)
        self._progress = seen.advanced(self.settings.window_ms, self.settings.late_ms)
        dangling = self._feedback.through(self._progress.feedback_horizon)
        self._kept.add("dangling", len(dangling))
        self._feedback.drop(dangling)
        closed = self._close(before, late)
        self._let_go(self._predictions.rows.through(self._progress.kept_horizon))
        self._changes.forget(self._progress.kept_horizon)
        self._make_room()
        return closed

    def _close(self, before_ms: int, late: Sequence[Slots]) -> Closed | None:
        """Return what predictions teach whose window has closed since a moment, or that heard of something after it."""
        if self.settings.default_label is None and not self._noted:
            return None
        rows = self._predictions.rows
        closing = rows.between(before_ms, self._progress.predictions_horizon)
        heard = np.concatenate([*late, np.empty(0, np.int64)])
        again = heard[np.sort(np.unique(heard, return_index=True)[1])]  # not by slot: a restart gives them others
        again = again[rows.times(again) <= self._progress.predictions_horizon]
        slots = np.concatenate([closing, again[~np.isin(again, closing)]])
        if not len(slots):
            return None
        silent, own, label, weight = self._worth(slots)
        was_label, was_weight = self._predictions.labels_of(own), self._predictions.weights_of(own)
        label = np.where(weight > 0.0, label, was_label)
        new = (own == NO_ANSWER) & (weight > 0.0)
        revised = (own != NO_ANSWER) & ((weight != was_weight) | (label != was_label))
        revisions = np.zeros(len(slots), np.int64)
        revisions[revised] = self._predictions.revise(own[revised], label[revised], weight[revised])
        self._predictions.answer_ourselves(slots[new], label[new], weight[new])
        counts = Revised(
            label, weight, np.where(revised, was_label, 0.0), np.where(revised, was_weight, 0.0), revisions
        )
        told = np.flatnonzero(new | revised)
        if not len(told):
            return None
        return Closed(rows.values(slots[told]), rows.times(slots[told]), silent[told], counts.take(told))

    def _worth(self, slots: Slots) -> tuple[Mask, Nodes, Floats, Floats]:
        """Return what closed predictions teach by themselves: whether by silence, our answer so far, label, weight."""
        settings = self.settings
        found = self._predictions.merged(slots, settings.reward)
        silence = 0.0 if settings.default_label is None else settings.default_weight
        label = np.where(found.counts, found.labels, settings.default_label or 0.0)
        weight = np.where(found.counts, found.weights if self._noted else 0.0, silence)
        if not self._noted:
            label[:] = settings.default_label or 0.0
        return ~found.counts, found.own, label, weight

    def _let_go(self, slots: Slots) -> None:
        """Forget predictions whose window has closed."""
        if not len(slots):
            return
        answered = int(np.count_nonzero(self._predictions.merged(slots, "each").answered))
        default = self.settings.default_label is not None
        self._kept.add("answered", answered)
        self._kept.add("default_emitted" if default else "unanswered", len(slots) - answered)
        self._predictions.drop(slots)

    def _make_room(self) -> None:
        """Give up the oldest by event time, a little more than needed. The horizons move with them."""
        progress = self._progress
        if horizon := _excess(self._predictions.rows, self.settings.waiting_predictions_max):
            oldest = self._predictions.rows.through(horizon)
            opened = self._predictions.rows.times(oldest) > progress.predictions_horizon
            self._let_go(oldest[~opened])
            self._kept.add("evicted_predictions", int(np.count_nonzero(opened)))
            self._predictions.drop(oldest[opened])
            self._progress = progress = progress.given_up(horizon)
        if horizon := _excess(self._feedback, self.settings.waiting_feedback_max):
            lost = self._feedback.through(horizon)
            self._kept.add("evicted", len(lost))
            self._feedback.drop(lost)
            self._progress = replace(progress, feedback_horizon=horizon)


def join(
    tasks: Sequence[JoinTask],
    predictions: Sequence[Sequence[Block]],
    entries: Sequence[Sequence[Entries]],
    corrections: Sequence[Sequence[Block]],
    now_ms: int,
) -> list[Output]:
    """Join what came of each task's partition number; all tasks are of one stage, and share decoding and encoding."""
    arrived = iter(read_predictions([block for own in predictions for block in own]))
    shown = [list(islice(arrived, len(own))) for own in predictions]
    changes = iter(read_changes([block for own in corrections for block in own]))
    changed = [list(islice(changes, len(own))) for own in corrections]
    found = [
        task.settle(own, said, altered, now_ms)
        for task, own, said, altered in zip(tasks, shown, entries, changed, strict=True)
    ]
    outputs = []
    for task, blocks, own, made in zip(tasks, predictions, shown, examples(found, tasks[0].settings), strict=True):
        letters = dead_letters(
            task.partition, blocks, [(at, bad) for at, each in enumerate(own) for bad in each.failures], now_ms
        )
        outputs.append(Output([block for block in (made, letters) if block is not None], task.metadata()))
    return outputs


def _process(tasks: Sequence[JoinTask], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
    ledger = of_topic(blocks, catalogue.LEDGER)
    entries = iter(read_entries([block for own in ledger for block in own]))
    said = [list(islice(entries, len(own))) for own in ledger]
    predictions, corrections = (of_topic(blocks, topic) for topic in (catalogue.PREDICTIONS, catalogue.CORRECTIONS))
    return join(tasks, predictions, said, corrections, now_ms)


def of_topic(blocks: Sequence[Sequence[Block]], topic: str) -> list[list[Block]]:
    """Return those blocks of each task that are of one topic."""
    return [[block for block in own if block.topic == topic] for own in blocks]


def _excess(waiting: Rows, records_max: int) -> int:
    """Return the event time up to which records must go so that the rest fits; 0 when all fit."""
    if len(waiting) <= records_max:
        return 0
    return waiting.oldest(len(waiting) - records_max + records_max // 64)
