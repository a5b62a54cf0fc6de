"""What came in one block: the rows that can be joined, with their ids and event times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from rheostat.streams.join.examples import FEEDBACK_COLUMNS, PREDICTION_COLUMNS
from rheostat.streams.join.labels import teaches
from rheostat.streams.join.rows import Mask, Times
from rheostat.streams.own_records import decode_own


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Rows of one topic: `ids` are prediction ids, `times` event times (record timestamps) in ms."""

    batch: pa.RecordBatch
    ids: NDArray[np.object_]
    times: Times

    def __len__(self) -> int:
        return len(self.times)

    def after(self, horizon_ms: int) -> Arrivals:
        """Return the rows after a moment."""
        return self.where(self.times > horizon_ms)

    def where(self, mask: Mask) -> Arrivals:
        """Return the rows that the mask selects."""
        if mask.all():
            return self
        return Arrivals(self.batch.filter(pa.array(mask)), self.ids[mask], self.times[mask])


def read_predictions(block: Block) -> tuple[Arrivals, list[codec.Failure]]:
    """Decode a block of `predictions`; the second part is what could not be decoded."""
    decoded = codec.decode_block(catalogue.PREDICTIONS, block.values)
    batch = decoded.batch.select(PREDICTION_COLUMNS)
    times = np.asarray(block.timestamps_ms, np.int64)[decoded.rows]
    return Arrivals(batch, _ids(batch, "prediction_id"), times), decoded.failures


def read_feedback(block: Block) -> tuple[Arrivals, int]:
    """Decode a block of `feedback.ledger`; the second part counts what gives no label or names no prediction.

    Raises Corrupt with topic, partition and offset when a record does not decode: the topic is ours.
    """
    records = decode_own(block)
    named = np.asarray(records.column("prediction_id").is_valid(), np.bool_)
    usable = named & teaches(records.column("kind"))
    times = np.asarray(block.timestamps_ms, np.int64)
    whole = Arrivals(records, _ids(records, "prediction_id"), times).where(usable)
    return Arrivals(whole.batch.select(FEEDBACK_COLUMNS), whole.ids, whole.times), len(block) - len(whole)


def _ids(batch: pa.RecordBatch, name: str) -> NDArray[np.object_]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), object)
