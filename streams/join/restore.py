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
from rheostat.streams.join.arrivals import read_feedback, read_predictions
from rheostat.streams.join.books import WAITING_FEEDBACK, WAITING_PREDICTIONS
from rheostat.streams.join.examples import (
    DEFAULT_KIND,
    FEEDBACK_COLUMNS,
    PREDICTION_COLUMNS,
    columns_schema,
)
from rheostat.streams.join.feedback import WaitingFeedback
from rheostat.streams.join.predictions import MISSING, Predictions
from rheostat.streams.join.window import Progress

ORIGIN_FIELDS = codec.arrow_schema(catalogue.EXAMPLES).get_field_index("predicted_at") + 1
"""How many fields of an example must be decoded to know what it was made of."""


def restore(
    log: Log, partition: int, committed: Mapping[TopicPartition, Committed], progress: Progress, window_ms: int
) -> tuple[Predictions, WaitingFeedback]:
    """Read the tails and return what waits. Raises Corrupt when that is not what was waiting at the commit."""
    predictions = Predictions(columns_schema(catalogue.PREDICTIONS, PREDICTION_COLUMNS))
    feedback = WaitingFeedback(columns_schema(catalogue.LEDGER, FEEDBACK_COLUMNS))
    if progress.commits:
        for block in _tail(log, catalogue.PREDICTIONS, partition, committed, progress.predictions_horizon):
            arrived = read_predictions(block)[0].after(progress.predictions_horizon)
            predictions.add(arrived.batch, arrived.ids, arrived.times)
        taught = _read_answers(log, partition, predictions, progress, window_ms)
        for block in _tail(log, catalogue.LEDGER, partition, committed, progress.feedback_horizon):
            _read_waiting(block, feedback, taught, progress.feedback_horizon)
        _check(partition, progress, len(predictions), len(feedback))
    return predictions, feedback


def _tail(
    log: Log, topic: str, partition: int, committed: Mapping[TopicPartition, Committed], horizon_ms: int
) -> Iterator[Block]:
    end = committed[TopicPartition(topic, partition)].offset
    if end is not None:
        yield from log.read(topic, partition, since_ms=horizon_ms + 1, end_offset=end)


def _read_answers(
    log: Log, partition: int, predictions: Predictions, progress: Progress, window_ms: int
) -> Counter[str]:
    """Note who answered the waiting predictions; return the events after the feedback horizon that taught."""
    taught: Counter[str] = Counter()
    since_ms = min(progress.predictions_horizon - window_ms, progress.feedback_horizon) + 1
    for block in log.read(catalogue.EXAMPLES, partition, since_ms=max(since_ms, 0)):
        ours = codec.decode_fields(catalogue.EXAMPLES, block.values, ORIGIN_FIELDS)
        events = np.asarray(ours.column("example_id").to_numpy(zero_copy_only=False), object)
        # By kind, which comes from a closed set: an event_id can be anything.
        signals = np.asarray(pc.not_equal(ours.column("kind"), DEFAULT_KIND), np.bool_)
        found = predictions.find(ours.column("prediction_id").to_numpy(zero_copy_only=False).tolist())
        known = np.flatnonzero(signals & (found != MISSING))
        # An older copy of a prediction may have been answered; the one that waits was not, by that.
        shown_at = predictions.rows.take(found[known]).column("occurred_at")
        known = known[np.asarray(pc.equal(shown_at, ours.column("predicted_at").take(pa.array(known))), np.bool_)]
        predictions.answer(found[known], events[known].tolist())
        recent = signals & (np.asarray(block.timestamps_ms, np.int64) > progress.feedback_horizon)
        taught.update(events[recent].tolist())
    return taught


def _read_waiting(block: Block, feedback: WaitingFeedback, taught: Counter[str], horizon_ms: int) -> None:
    arrived = read_feedback(block)[0].after(horizon_ms)
    waits = np.zeros(len(arrived), np.bool_)
    for row, event in enumerate(arrived.batch.column("event_id").to_numpy(zero_copy_only=False).tolist()):
        # Each example accounts for one entry; should the ledger hold an event twice, the second one waited.
        waits[row] = taught[event] == 0
        taught[event] -= not waits[row]
    rest = arrived.where(waits)
    feedback.add(rest.batch, rest.ids, rest.times)


def _check(partition: int, progress: Progress, predictions: int, feedback: int) -> None:
    expected = (progress.counts[WAITING_PREDICTIONS], progress.counts[WAITING_FEEDBACK])
    if (predictions, feedback) != expected:
        raise Corrupt(
            f"join state of partition {partition}",
            f"{expected[0]} predictions and {expected[1]} feedback events were waiting, the log gives {predictions} "
            f"and {feedback}; do `predictions`, `feedback.ledger` and `examples` keep at least two windows?",
        )
