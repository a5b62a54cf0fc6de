"""Cuts a stream of batches into micro-batches of a fixed size, whatever the sizes it arrives in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Context, FeatureSchema, Tensors
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.layout import take

_FIELDS = ("numeric", "categorical", "label", "weight")
_CONTEXT = ("action", "propensity", "occurred_at_ms", "stratum")


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
        self._pending = _empty(schema, context)

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Yield the micro-batches that became full; the caller must exhaust this before the next call."""
        check_batch(self._schema, batch)
        if (batch.context is not None) is not self._context:
            batch = replace(batch, context=no_context(len(batch)) if self._context else None)
        seen = batch.weight > 0.0
        rows = batch if seen.all() else select(batch, seen)
        rows = _concat(self._pending, rows) if len(self._pending) else rows
        full = len(rows) - len(rows) % self._batch_rows
        self._pending = _copy(select(rows, slice(full, None)))
        for start in range(0, full, self._batch_rows):
            yield select(rows, slice(start, start + self._batch_rows))

    def drain(self) -> Iterator[Batch]:
        """Yield what is waiting as one last, smaller micro-batch, if there is any."""
        waiting, self._pending = self._pending, _empty(self._schema, self._context)
        if len(waiting):
            yield waiting

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the waiting rows, as part of a snapshot."""
        held = {f"pending.{field}": getattr(self._pending, field).copy() for field in _FIELDS}
        if self._pending.context is not None:
            held |= {f"pending.{field}": getattr(self._pending.context, field).copy() for field in _CONTEXT}
        return held

    def restore(self, tensors: Tensors) -> None:
        """Take over the waiting rows of a snapshot; ValueError if they do not fit."""
        label = tensors.get("pending.label")
        rows = 0 if label is None else label.size
        numeric = take(tensors, "pending.numeric", np.float64, (rows, len(self._schema.numeric)))
        categorical = take(tensors, "pending.categorical", np.uint64, (rows, len(self._schema.categorical)))
        label, weight = (take(tensors, f"pending.{side}", np.float64, (rows,)) for side in ("label", "weight"))
        context = _take_context(tensors, rows) if self._context else None
        self._pending = _copy(Batch(self._schema.id, numeric, categorical, label, weight, context))


def _take_context(tensors: Tensors, rows: int) -> Context:
    return Context(
        take(tensors, "pending.action", np.int64, (rows,)),
        take(tensors, "pending.propensity", np.float64, (rows,)),
        take(tensors, "pending.occurred_at_ms", np.int64, (rows,)),
        take(tensors, "pending.stratum", np.uint64, (rows,)),
    )


def _empty(schema: FeatureSchema, context: bool) -> Batch:
    categorical = np.zeros((0, len(schema.categorical)), np.uint64)
    numeric = np.zeros((0, len(schema.numeric)))
    return Batch(schema.id, numeric, categorical, np.zeros(0), np.zeros(0), no_context(0) if context else None)


def _copy(batch: Batch) -> Batch:
    context = batch.context and Context(*(getattr(batch.context, field).copy() for field in _CONTEXT))
    columns = batch.numeric.copy(), batch.categorical.copy(), batch.label.copy(), batch.weight.copy()
    return Batch(batch.schema_id, *columns, context)


def _concat(first: Batch, second: Batch) -> Batch:
    numeric, categorical, label, weight = (_joined(first, second, field) for field in _FIELDS)
    return Batch(first.schema_id, numeric, categorical, label, weight, _both(first, second))


def _both(first: Batch, second: Batch) -> Context | None:
    if first.context is None or second.context is None:
        return None
    return Context(*(_joined(first.context, second.context, field) for field in _CONTEXT))


def _joined(first: object, second: object, field: str) -> Any:
    return np.concatenate([getattr(first, field), getattr(second, field)])
