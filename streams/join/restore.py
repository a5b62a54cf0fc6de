"""What waited at the committed offsets, rebuilt from the log.

predictions   after the horizon up to which they are kept, up to the committed offset
answered      those named by an example of ours; labels may be up to one window older than their prediction
feedback      after its horizon, up to the committed offset, less what an example of ours was made of
changes       corrections and retractions, likewise from the horizon up to which predictions are kept
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Corrupt
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.join.answers import NO_ANSWER, Floats, Said
from rheostat.streams.join.arrivals import read_entries, read_predictions
from rheostat.streams.join.books import WAITING_FEEDBACK, WAITING_PREDICTIONS
from rheostat.streams.join.changes import Remembered, read_changes, retractions
from rheostat.streams.join.examples import NOTED, OWN_KINDS
from rheostat.streams.join.predictions import Predictions
from rheostat.streams.join.rows import NONE, Mask, Rows, Slots, Times
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.window import Progress


class Waiting(NamedTuple):
    """What waits of one partition number, and the changes that may still concern it."""

    predictions: Predictions
    feedback: Rows
    changes: Remembered


def restore(
    log: Log, partition: int, committed: Mapping[TopicPartition, Committed], progress: Progress, settings: JoinSettings
) -> Waiting:
    """Read the tails and return what waits. Raises Corrupt when that is not what was waiting at the commit.

    A topic that `committed` has nothing on is read to its end.
    """
    kept_ms = settings.window_ms + settings.late_ms
    spill = settings.spill
    waiting = Waiting(Predictions(kept_ms, spill), Rows(settings.window_ms, spill), Remembered(kept_ms, spill))
    predictions, feedback, changes = waiting
    if not progress.commits:
        _check_new(log, partition)
        return waiting
    for block in _tail(log, catalogue.PREDICTIONS, partition, committed, progress.kept_horizon):
        arrived = read_predictions([block])[0].after(progress.kept_horizon)
        predictions.add(arrived.ids, arrived.times, arrived.values, arrived.untils, arrived.positive)
    taught = _read_answers(log, partition, predictions, progress, settings.window_ms)
    for block in _tail(log, catalogue.CORRECTIONS, partition, committed, progress.kept_horizon):
        changes.note(read_changes([block])[0], progress.kept_horizon)
    horizon_ms = min(progress.feedback_horizon, progress.kept_horizon)
    for block in _tail(log, catalogue.LEDGER, partition, committed, horizon_ms):
        _read_waiting(block, feedback, changes, taught, progress)
    _check(partition, progress, len(predictions), len(feedback))
    return waiting


def _check_new(log: Log, partition: int) -> None:
    """Raise Corrupt if a join that never committed has made examples: it would make them again."""
    if next(iter(log.read(catalogue.EXAMPLES, partition)), None) is not None:
        raise Corrupt(
            f"join state of partition {partition}",
            "`examples` has records, but nothing was committed by this stage. Did its group's offsets expire, or did "
            "`join` and `intake-join` take turns? Go on with the one that was used before, or begin with new topics",
        )


def _tail(
    log: Log, topic: str, partition: int, committed: Mapping[TopicPartition, Committed], horizon_ms: int
) -> Iterator[Block]:
    position, since_ms = committed.get(TopicPartition(topic, partition)), max(horizon_ms + 1, 0)
    if position is None:
        yield from log.read(topic, partition, since_ms=since_ms)
    elif position.offset is not None:
        yield from log.read(topic, partition, since_ms=since_ms, end_offset=position.offset)


def _read_answers(
    log: Log, partition: int, predictions: Predictions, progress: Progress, window_ms: int
) -> Counter[str]:
    """Note who answered the waiting predictions; return the events after the feedback horizon that taught."""
    taught: Counter[str] = Counter()
    since_ms = min(progress.kept_horizon - window_ms, progress.feedback_horizon) + 1
    for block in log.read(catalogue.EXAMPLES, partition, since_ms=max(since_ms, 0)):
        ours = codec.decode_own(catalogue.EXAMPLES, block.values)
        times = np.asarray(block.timestamps_ms, np.int64)
        revisions = _numbers(ours, "revision")
        # By kind, which comes from a closed set: an event_id can be anything.
        own = np.asarray(pc.is_in(ours.column("kind"), pa.array(OWN_KINDS)), np.bool_)
        first = (revisions == 0) | (revisions == NOTED)
        _note_answers(predictions, ours, times, own, first, window_ms)
        recent = first & ~own & (times > progress.feedback_horizon)
        taught.update(ours.column("example_id").filter(pa.array(recent)).to_pylist())
    return taught


def _note_answers(
    predictions: Predictions, ours: pa.RecordBatch, times: Times, own: Mask, first: Mask, window_ms: int
) -> None:
    """Note the answers that the examples of one block tell of, then their revisions, the last of which stands."""
    slots = _shown(predictions, ours)
    events = fingerprints(ours.column("example_id"))
    label, weight = (_numbers(ours, name) for name in ("label", "weight"))
    predictions.answer(np.where(first & ~own, slots, NONE), Said(events, times, label, weight), window_ms)
    ours_first = first & own & (slots != NONE)
    predictions.answer_ourselves(slots[ours_first], label[ours_first], weight[ours_first])
    again = ~first & (slots != NONE)
    if again.any():
        _note_revisions(predictions, ours, slots, own, again, label, weight)


def _note_revisions(
    predictions: Predictions, ours: pa.RecordBatch, slots: Slots, own: Mask, again: Mask, label: Floats, weight: Floats
) -> None:
    answers = predictions.answers_of(np.where(own, NONE, slots), fingerprints(ours.column("example_id")))
    answers[again & own] = predictions.merged(slots[again & own], "each").own
    for row in np.flatnonzero(again & (answers != NO_ANSWER)).tolist():
        predictions.revise(answers[row : row + 1], label[row : row + 1], weight[row : row + 1])


def _shown(predictions: Predictions, ours: pa.RecordBatch) -> Slots:
    """Return the waiting prediction that each example was made of, NONE where it waits no more."""
    slots = predictions.rows.find(fingerprints(ours.column("prediction_id")))
    known = np.flatnonzero(slots != NONE)
    # An older copy of a prediction may have been answered; the one that waits was not, by that.
    waiting = codec.decode_own(catalogue.PREDICTIONS, predictions.rows.values(slots[known])).column("occurred_at")
    older = np.asarray(pc.not_equal(waiting, ours.column("predicted_at").take(pa.array(known))), np.bool_)
    slots[known[older]] = NONE
    return slots


def _read_waiting(block: Block, feedback: Rows, changes: Remembered, taught: Counter[str], progress: Progress) -> None:
    (entries,) = read_entries([block])
    codes = entries.codes()
    if (taken_back := retractions(entries, codes)) is not None:
        changes.note(taken_back, progress.kept_horizon)
    waits = entries.usable(codes) & (entries.times_ms > progress.feedback_horizon)
    events = entries.records.column("event_id").to_pylist()
    for row in np.flatnonzero(waits).tolist():
        # Each example accounts for one entry; should the ledger hold an event twice, the second one waited.
        if taught[events[row]]:
            taught[events[row]] -= 1
            waits[row] = False
    rest = entries.where(waits)
    feedback.add(rest.prediction_ids(), rest.times_ms, rest.encoded())


def _check(partition: int, progress: Progress, predictions: int, feedback: int) -> None:
    expected = (progress.counts[WAITING_PREDICTIONS], progress.counts[WAITING_FEEDBACK])
    if (predictions, feedback) != expected:
        raise Corrupt(
            f"join state of partition {partition}",
            f"{expected[0]} predictions and {expected[1]} feedback events were waiting, the log gives {predictions} "
            f"and {feedback}; do `predictions`, `feedback.ledger` and `examples` keep at least two windows?",
        )


def _numbers(batch: pa.RecordBatch, name: str) -> Floats:
    return np.asarray(batch.column(name), np.float64)
