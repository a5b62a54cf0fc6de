"""Cuts a stream of batches into micro-batches of a fixed size, whatever the sizes it arrives in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import check_batch, select
from rheostat.learners.layout import take

_FIELDS = ("numeric", "categorical", "label", "weight")


class MicroBatcher:
    """Rows waiting for their micro-batch to be full, in order of arrival.

    Rows of weight 0 are dropped on arrival: they were not seen, so they cannot move a cut.
    """

    def __init__(self, schema: FeatureSchema, batch_rows: int) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
        self._schema = schema
        self._batch_rows = batch_rows
        self._pending = _empty(schema)

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Yield the micro-batches that became full; the caller must exhaust this before the next call."""
        check_batch(self._schema, batch)
        seen = batch.weight > 0.0
        rows = batch if seen.all() else select(batch, seen)
        rows = _concat(self._pending, rows) if len(self._pending) else rows
        full = len(rows) - len(rows) % self._batch_rows
        self._pending = _copy(select(rows, slice(full, None)))
        for start in range(0, full, self._batch_rows):
            yield select(rows, slice(start, start + self._batch_rows))

    def drain(self) -> Iterator[Batch]:
        """Yield what is waiting as one last, smaller micro-batch, if there is any."""
        waiting, self._pending = self._pending, _empty(self._schema)
        if len(waiting):
            yield waiting

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the waiting rows, as part of a snapshot."""
        return {f"pending.{field}": getattr(self._pending, field).copy() for field in _FIELDS}

    def restore(self, tensors: Tensors) -> None:
        """Take over the waiting rows of a snapshot; ValueError if they do not fit."""
        label = tensors.get("pending.label")
        rows = 0 if label is None else label.size
        numeric = take(tensors, "pending.numeric", np.float64, (rows, len(self._schema.numeric)))
        categorical = take(tensors, "pending.categorical", np.uint64, (rows, len(self._schema.categorical)))
        sides = [take(tensors, f"pending.{side}", np.float64, (rows,)) for side in ("label", "weight")]
        self._pending = _copy(Batch(self._schema.id, numeric, categorical, *sides))


def _empty(schema: FeatureSchema) -> Batch:
    categorical = np.zeros((0, len(schema.categorical)), np.uint64)
    return Batch(schema.id, np.zeros((0, len(schema.numeric))), categorical, np.zeros(0), np.zeros(0))


def _copy(batch: Batch) -> Batch:
    sides = batch.label.copy(), batch.weight.copy()
    return Batch(batch.schema_id, batch.numeric.copy(), batch.categorical.copy(), *sides)


def _concat(first: Batch, second: Batch) -> Batch:
    return Batch(
        first.schema_id,
        np.concatenate([first.numeric, second.numeric]),
        np.concatenate([first.categorical, second.categorical]),
        np.concatenate([first.label, second.label]),
        np.concatenate([first.weight, second.weight]),
    )
