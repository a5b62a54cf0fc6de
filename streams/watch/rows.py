"""Events of ledger and quarantine as the watch sees them, each with the place where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema
from rheostat.schemas.signals import codes_of
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.bursts import Events, events_of, joined
from rheostat.streams.intake.released import REASON
from rheostat.streams.own_records import decode_own

TOPICS = (catalogue.LEDGER, catalogue.QUARANTINE)
ACCEPTED, HELD = range(len(TOPICS))


@dataclass(frozen=True, slots=True)
class Rows:
    """Some events, one row each.

    batch: the fields of the ledger, which are those of quarantine. topics: ACCEPTED or HELD. partitions and offsets
    say where each lies. readmitted: it was in quarantine first, and has been seen there.
    """

    batch: pa.RecordBatch
    events: Events
    topics: NDArray[np.int8]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    readmitted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Return some rows, in this order."""
        return Rows(
            self.batch.take(pa.array(rows)),
            self.events.take(rows),
            self.topics[rows],
            self.partitions[rows],
            self.offsets[rows],
            self.readmitted[rows],
        )


def read_rows(blocks: Sequence[Block]) -> Rows:
    """Decode blocks of ledger and quarantine. Raises Corrupt."""
    schema = arrow_schema(catalogue.LEDGER)
    batches = [pa.RecordBatch.from_arrays(decode_own(block).columns, schema=schema) for block in blocks]
    batch = pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema)
    sizes = list(map(len, blocks))
    return Rows(
        batch,
        events_of(
            batch.column("target_id"),
            batch.column("subject"),
            codes_of(batch.column("kind")),
            np.asarray(batch.column("value").to_numpy(), np.float64),
            times_of(batch),
        ),
        np.repeat(np.array([TOPICS.index(block.topic) for block in blocks], np.int8), sizes),
        np.repeat(np.array([block.partition for block in blocks], np.int32), sizes),
        np.concatenate([np.asarray(block.offsets, np.int64) for block in blocks]) if blocks else np.zeros(0, np.int64),
        _readmitted(batch),
    )


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Return several runs as one, at least one."""
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    return Rows(
        pa.concat_batches([part.batch for part in parts]),
        joined([part.events for part in parts]),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("topics", "partitions", "offsets", "readmitted")
        ),
    )


def times_of(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Return when events happened, in epoch ms."""
    return np.asarray(batch.column("occurred_at").to_numpy().view(np.int64))


def _readmitted(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    reasons = batch.column("reasons")
    if reasons.null_count == len(reasons):
        return np.zeros(len(batch), np.bool_)
    found = pc.starts_with(reasons, REASON).fill_null(False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
