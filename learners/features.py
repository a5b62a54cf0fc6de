"""Columns of features into a `Batch`: numbers are checked, categories become stable 64-bit hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rheostat.learners.contract import Batch, Context, FeatureSchema, Floats

HASHES_KEPT = 1 << 18
"""Hashes remembered per process: about 40 MB when full."""

SECOND = "#2"
"""Ends the name of a feature of the second of two candidates; its values hash as those of the first one's do."""


@lru_cache(maxsize=HASHES_KEPT)
def hash_value(name: str, value: str | None) -> int:
    """Return the hash of a category: BLAKE2b-64, little-endian, of UTF-8 "name=value"; 0 for None and empty text.

    It never changes between processes or versions: the rows of an embedding table depend on it.
    """
    if not value:
        return 0
    text = f"{name}={value}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") or 1


def batch_from_columns(
    schema: FeatureSchema,
    numeric: ArrayLike,
    categorical: Sequence[Sequence[str | None]],
    label: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Batch:
    """Return a batch whose columns are in the schema's order.

    numeric: numbers (rows, len(schema.numeric)). categorical: one sequence of `rows` texts for each categorical
    feature; None or empty text is a missing value. label and weight: (rows,), for prediction left out (0 and 1).
    Raises ValueError, naming the feature, for a wrong shape, a number that is not finite, a label outside [0, 1],
    or a negative weight.
    """
    numbers = np.asarray(numeric, np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != len(schema.numeric):
        raise ValueError(f"numeric features: shape {numbers.shape}, expected (rows, {len(schema.numeric)})")
    rows = numbers.shape[0]
    _check_finite(schema, numbers)
    return Batch(
        schema_id=schema.id,
        numeric=numbers,
        categorical=hash_columns(schema, categorical, rows),
        label=_side("label", label, rows, 0.0, maximum=1.0),
        weight=_side("weight", weight, rows, 1.0, maximum=np.inf),
    )


def hash_columns(schema: FeatureSchema, columns: Sequence[Sequence[str | None]], rows: int) -> NDArray[np.uint64]:
    """Return the hashes (rows, len(schema.categorical)) of one sequence of texts for each categorical feature.

    A name that ends in `SECOND` hashes as the name before that.
    """
    if len(columns) != len(schema.categorical):
        raise ValueError(f"{len(columns)} categorical features, expected {len(schema.categorical)}")
    hashes = np.empty((rows, len(columns)), np.uint64)
    for index, (name, column) in enumerate(zip(schema.categorical, columns, strict=True)):
        if len(column) != rows:
            raise ValueError(f"categorical feature {name!r}: {len(column)} values for {rows} rows")
        feature = name.removesuffix(SECOND)
        known = {value: hash_value(feature, value) for value in set(column)}
        hashes[:, index] = np.fromiter(map(known.__getitem__, column), np.uint64, rows)
    return hashes


def select(batch: Batch, rows: NDArray[np.generic] | slice) -> Batch:
    """Return the batch of the given rows: indexes, a mask, or a slice."""
    side = batch.label[rows], batch.weight[rows]
    context = None if batch.context is None else select_context(batch.context, rows)
    return Batch(batch.schema_id, batch.numeric[rows], batch.categorical[rows], *side, context)


def select_context(context: Context, rows: NDArray[np.generic] | slice) -> Context:
    """Return the context of the given rows: indexes, a mask, or a slice."""
    return Context(context.action[rows], context.propensity[rows], context.occurred_at_ms[rows], context.stratum[rows])


def no_context(rows: int) -> Context:
    """Return the context of rows of which nothing is known."""
    return Context(
        np.full(rows, -1, np.int64), np.full(rows, np.nan), np.zeros(rows, np.int64), np.zeros(rows, np.uint64)
    )


def check_batch(schema: FeatureSchema, batch: Batch) -> None:
    """Raise ValueError unless the batch belongs to the schema and its arrays have the schema's shapes."""
    if batch.schema_id != schema.id:
        raise ValueError(f"batch of feature set {batch.schema_id!r}, expected {schema.id!r}")
    rows = len(batch)
    expected = ((rows, len(schema.numeric)), (rows, len(schema.categorical)), (rows,), (rows,))
    found = (batch.numeric.shape, batch.categorical.shape, batch.label.shape, batch.weight.shape)
    if found != expected:
        raise ValueError(f"batch of feature set {schema.id!r}: array shapes {found}, expected {expected}")


def _check_finite(schema: FeatureSchema, numbers: Floats) -> None:
    finite = np.isfinite(numbers)
    if finite.all():
        return
    row, column = (int(index) for index in np.argwhere(~finite)[0])
    name, count = schema.numeric[column], int((~finite[:, column]).sum())
    raise ValueError(f"numeric feature {name!r}: {count} of {len(numbers)} values are not finite, first in row {row}")


def _side(name: str, values: ArrayLike | None, rows: int, default: float, maximum: float) -> Floats:
    if values is None:
        return np.full(rows, default)
    array = np.asarray(values, np.float64)
    if array.shape != (rows,):
        raise ValueError(f"{name}: shape {array.shape}, expected ({rows},)")
    if not (np.isfinite(array).all() and (array >= 0.0).all() and (array <= maximum).all()):
        raise ValueError(f"{name}: every value must be finite and in [0, {maximum:g}]")
    return array
