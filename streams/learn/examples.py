"""Blocks of `examples` as batches a learner takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.features import batch_from_columns, select
from rheostat.streams.engine.block import Block
from rheostat.streams.own_records import decode_own

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one run that are for one feature set; all columns have the same length.

    `end` is the offset after the run as read, so a run without any such example still moves on.
    """

    partition: int
    start: int
    end: int
    offsets: Offsets
    records: pa.RecordBatch
    batch: Batch

    def __len__(self) -> int:
        return len(self.offsets)

    def within(self, start: int, end: int) -> Examples:
        """Return the part with offsets in [start, end)."""
        rows = np.flatnonzero((self.offsets >= start) & (self.offsets < end))
        return self._take(rows, max(start, self.start), min(end, self.end))

    def row(self, index: int) -> Examples:
        """Return one example."""
        offset = int(self.offsets[index])
        return self._take(np.asarray([index]), offset, offset + 1)

    def without(self, start: int, end: int | None) -> list[Examples]:
        """Return what is left when offsets in [start, end) are taken out, in at most two runs."""
        before = self.within(self.start, min(start, self.end))
        after = self.within(max(end, self.start), self.end) if end is not None else None
        return [part for part in (before, after) if part is not None and len(part)]

    def _take(self, rows: NDArray[np.intp], start: int, end: int) -> Examples:
        records = self.records.take(pa.array(rows))
        return Examples(self.partition, start, end, self.offsets[rows], records, select(self.batch, rows))


def decode_examples(block: Block, schema: FeatureSchema) -> Examples:
    """Decode a block of `examples` and keep those a learner of this feature set can learn from.

    Examples of other feature sets are left out, and so are those that do not fit the schema (wrong number of features,
    not finite, label outside [0, 1]): whoever wrote the prediction got them wrong, and no learner may fall over them.
    Raises Corrupt with topic, partition and offset when a record does not decode: the topic is ours.
    """
    records = decode_own(block)
    offsets = np.asarray(block.offsets, dtype=np.int64)
    usable = _usable(records, schema)
    if not usable.all():
        rows = np.flatnonzero(usable)
        offsets, records = offsets[rows], records.take(pa.array(rows))
    return Examples(
        block.partition, int(block.offsets[0]), block.next_offset, offsets, records, _batch(records, schema)
    )


def _usable(records: pa.RecordBatch, schema: FeatureSchema) -> NDArray[np.bool_]:
    ours = pc.equal(records.column("feature_set"), schema.id)
    for name, width in (("numeric", len(schema.numeric)), ("categorical", len(schema.categorical))):
        ours = pc.and_(ours, pc.equal(pc.list_value_length(records.column(name)), width))
    usable = np.asarray(ours.to_numpy(zero_copy_only=False), dtype=np.bool_)
    numeric = records.column("numeric")
    finite = np.isfinite(np.asarray(numeric.flatten(), dtype=np.float64))
    if not finite.all():
        parents = np.asarray(pc.list_parent_indices(numeric), dtype=np.int64)
        usable[parents[~finite]] = False
    label, weight = (np.asarray(records.column(name), dtype=np.float64) for name in ("label", "weight"))
    return usable & (label >= 0.0) & (label <= 1.0) & (weight >= 0.0) & np.isfinite(weight)


def _batch(records: pa.RecordBatch, schema: FeatureSchema) -> Batch:
    rows = records.num_rows
    numeric = np.asarray(records.column("numeric").flatten(), dtype=np.float64).reshape(rows, len(schema.numeric))
    texts = records.column("categorical").flatten().to_pylist()
    width = len(schema.categorical)
    return batch_from_columns(
        schema,
        numeric,
        [texts[index::width] for index in range(width)],
        np.asarray(records.column("label"), dtype=np.float64),
        np.asarray(records.column("weight"), dtype=np.float64),
    )
