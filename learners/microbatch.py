"""Cuts a stream of batches into micro-batches of a fixed size, whatever the sizes it arrives in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.rows import copied, empty, joined, row_tensors, take_rows


class MicroBatcher:
    """Rows waiting for their micro-batch to be full, in order of arrival.

    Rows of weight 0 are dropped on arrival: they were not seen, so they cannot move a cut. With `context` every
    micro-batch has one, and it is kept with waiting rows; without, it is dropped.
    """

    def __init__(self, schema: FeatureSchema, batch_rows: int, *, context: bool = False) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
        self._schema = schema
        self._batch_rows = batch_rows
        self._context = context
        self._pending = empty(schema, context=context)

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Yield the micro-batches that became full; the caller must exhaust this before the next call."""
        rows = self.full(batch)
        for start in range(0, len(rows), self._batch_rows):
            yield select(rows, slice(start, start + self._batch_rows))

    def full(self, batch: Batch) -> Batch:
        """Return the micro-batches that became full, one behind the other."""
        check_batch(self._schema, batch)
        if (batch.context is not None) is not self._context:
            batch = replace(batch, context=no_context(len(batch)) if self._context else None)
        seen = batch.weight > 0.0
        rows = batch if seen.all() else select(batch, seen)
        rows = joined(self._pending, rows) if len(self._pending) else rows
        full = len(rows) - len(rows) % self._batch_rows
        self._pending = copied(select(rows, slice(full, None)))
        return select(rows, slice(0, full))

    def drain(self) -> Iterator[Batch]:
        """Yield what is waiting as one last, smaller micro-batch, if there is any."""
        waiting, self._pending = self._pending, empty(self._schema, context=self._context)
        if len(waiting):
            yield waiting

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the waiting rows, as part of a snapshot."""
        return row_tensors(self._pending, "pending")

    def restore(self, tensors: Tensors) -> None:
        """Take over the waiting rows of a snapshot; ValueError if they do not fit."""
        self._pending = take_rows(tensors, "pending", self._schema, context=self._context)
