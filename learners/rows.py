"""Rows of batches: none, copied, joined, and as named tensors in a snapshot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Context, FeatureSchema, Tensors
from rheostat.learners.features import no_context
from rheostat.learners.layout import take

_FIELDS = ("numeric", "categorical", "label", "weight")
_CONTEXT = ("action", "propensity", "occurred_at_ms", "stratum")


def empty(schema: FeatureSchema, *, context: bool = False) -> Batch:
    """Return a batch of no rows."""
    categorical = np.zeros((0, len(schema.categorical)), np.uint64)
    numeric = np.zeros((0, len(schema.numeric)))
    return Batch(schema.id, numeric, categorical, np.zeros(0), np.zeros(0), no_context(0) if context else None)


def copied(batch: Batch) -> Batch:
    """Return the batch with arrays of its own."""
    context = batch.context and Context(*(getattr(batch.context, field).copy() for field in _CONTEXT))
    columns = batch.numeric.copy(), batch.categorical.copy(), batch.label.copy(), batch.weight.copy()
    return Batch(batch.schema_id, *columns, context)


def joined(first: Batch, second: Batch) -> Batch:
    """Return the rows of one batch and then those of the other; with a context where both have one."""
    numeric, categorical, label, weight = (_both(first, second, field) for field in _FIELDS)
    context = None
    if first.context is not None and second.context is not None:
        context = Context(*(_both(first.context, second.context, field) for field in _CONTEXT))
    return Batch(first.schema_id, numeric, categorical, label, weight, context)


def alike(rows: Batch, others: Batch) -> NDArray[np.bool_]:
    """Return which rows have the features, to the bit, of any of the others."""
    wanted = set(map(bytes, _features(others)))
    return np.fromiter((bytes(row) in wanted for row in _features(rows)), np.bool_, len(rows))


def row_tensors(batch: Batch, prefix: str) -> dict[str, NDArray[np.generic]]:
    """Return copies of the columns as tensors "PREFIX.numeric" and so on, those of the context too if there is one."""
    held = {f"{prefix}.{field}": getattr(batch, field).copy() for field in _FIELDS}
    if batch.context is not None:
        held |= {f"{prefix}.{field}": getattr(batch.context, field).copy() for field in _CONTEXT}
        # 0 stands for a propensity that was not logged: a state holds finite numbers only.
        held[f"{prefix}.propensity"] = np.nan_to_num(batch.context.propensity, nan=0.0)
    return held


def take_rows(tensors: Tensors, prefix: str, schema: FeatureSchema, *, context: bool = False) -> Batch:
    """Return a copy of the rows that `row_tensors` made tensors of; ValueError if they do not fit the schema."""
    found = tensors.get(f"{prefix}.label")
    rows = 0 if found is None else found.size
    numeric = take(tensors, f"{prefix}.numeric", np.float64, (rows, len(schema.numeric)))
    categorical = take(tensors, f"{prefix}.categorical", np.uint64, (rows, len(schema.categorical)))
    label, weight = (take(tensors, f"{prefix}.{side}", np.float64, (rows,)) for side in ("label", "weight"))
    around = _take_context(tensors, prefix, rows) if context else None
    return copied(Batch(schema.id, numeric, categorical, label, weight, around))


def _take_context(tensors: Tensors, prefix: str, rows: int) -> Context:
    propensity = take(tensors, f"{prefix}.propensity", np.float64, (rows,))
    return Context(
        take(tensors, f"{prefix}.action", np.int64, (rows,)),
        np.where(propensity == 0.0, np.nan, propensity),
        take(tensors, f"{prefix}.occurred_at_ms", np.int64, (rows,)),
        take(tensors, f"{prefix}.stratum", np.uint64, (rows,)),
    )


def _features(batch: Batch) -> NDArray[np.uint64]:
    return np.concatenate([np.ascontiguousarray(batch.numeric).view(np.uint64), batch.categorical], axis=1)


def _both(first: object, second: object, field: str) -> Any:
    return np.concatenate([getattr(first, field), getattr(second, field)])
