"""What waited at the committed offsets, rebuilt from the log.

predictions   after the horizon, up to the committed offset
answered      those named by an example of ours; labels may be up to one window older than their prediction
feedback      after the horizon, up to the committed offset, less what an example of ours was made of
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Corrupt
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.join.arrivals import read_entries, read_predictions
from rheostat.streams.join.books import WAITING_FEEDBACK, WAITING_PREDICTIONS
from rheostat.streams.join.examples import DEFAULT_KIND
from rheostat.streams.join.predictions import Predictions
from rheostat.streams.join.rows import NONE, Rows, Slots
from rheostat.streams.join.window import Progress

ORIGIN_FIELDS = codec.arrow_schema(catalogue.EXAMPLES).get_field_index("predicted_at") + 1
"""How many fields of an example must be decoded to know what it was made of."""


def restore(
    log: Log, partition: int, committed: Mapping[TopicPartition, Committed], progress: Progress, window_ms: int
) -> tuple[Predictions, Rows]:
    """Read the tails and return what waits. Raises Corrupt when that is not what was waiting at the commit.

    A topic that `committed` has nothing on is read to its end.
    """
    predictions, feedback = Predictions(window_ms), Rows(window_ms)
    if not progress.commits:
        _check_new(log, partition)
    else:
        for block in _tail(log, catalogue.PREDICTIONS, partition, committed, progress.predictions_horizon):
            arrived = read_predictions([block])[0].after(progress.predictions_horizon)
            predictions.add(arrived.ids, arrived.times, arrived.values, arrived.untils)
        taught = _read_answers(log, partition, predictions, progress, window_ms)
        for block in _tail(log, catalogue.LEDGER, partition, committed, progress.feedback_horizon):
            _read_waiting(block, feedback, taught, progress.feedback_horizon)
        _check(partition, progress, len(predictions), len(feedback))
    return predictions, feedback


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
    position = committed.get(TopicPartition(topic, partition))
    if position is None:
        yield from log.read(topic, partition, since_ms=horizon_ms + 1)
    elif position.offset is not None:
        yield from log.read(topic, partition, since_ms=horizon_ms + 1, end_offset=position.offset)


def _read_answers(
    log: Log, partition: int, predictions: Predictions, progress: Progress, window_ms: int
) -> Counter[str]:
    """Note who answered the waiting predictions; return the events after the feedback horizon that taught."""
    taught: Counter[str] = Counter()
    since_ms = min(progress.predictions_horizon - window_ms, progress.feedback_horizon) + 1
    for block in log.read(catalogue.EXAMPLES, partition, since_ms=max(since_ms, 0)):
        ours = codec.decode_fields(catalogue.EXAMPLES, block.values, ORIGIN_FIELDS)
        times = np.asarray(block.timestamps_ms, np.int64)
        # By kind, which comes from a closed set: an event_id can be anything.
        signals = np.asarray(pc.not_equal(ours.column("kind"), DEFAULT_KIND), np.bool_)
        slots = np.where(signals, _shown(predictions, ours), NONE)
        predictions.answer(slots, times, fingerprints(ours.column("example_id")), window_ms)
        recent = signals & (times > progress.feedback_horizon)
        taught.update(ours.column("example_id").filter(pa.array(recent)).to_pylist())
    return taught


def _shown(predictions: Predictions, ours: pa.RecordBatch) -> Slots:
    """Return the waiting prediction that each example was made of, NONE where it waits no more."""
    slots = predictions.rows.find(fingerprints(ours.column("prediction_id")))
    known = np.flatnonzero(slots != NONE)
    # An older copy of a prediction may have been answered; the one that waits was not, by that.
    waiting = codec.decode_own(catalogue.PREDICTIONS, predictions.rows.values(slots[known])).column("occurred_at")
    older = np.asarray(pc.not_equal(waiting, ours.column("predicted_at").take(pa.array(known))), np.bool_)
    slots[known[older]] = NONE
    return slots


def _read_waiting(block: Block, feedback: Rows, taught: Counter[str], horizon_ms: int) -> None:
    (entries,) = read_entries([block])
    waits = entries.usable(entries.codes()) & (entries.times_ms > horizon_ms)
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
