"""Scoring with learned parameters, in numpy: what a server runs, and what the learners themselves score with.

Parameters by kind (float64 unless said otherwise), for a schema with N numeric and C categorical features:

    linear/1      bins u64 (1)   weights (P)   intercept (1)   scale.mean, scale.factor (P)   scale.options (2)
                  P = N + C * bins: the numeric features, then for each categorical one a 0/1 input per bin, hash % bins
    hashed-mlp/1  table f32 (R, D)   hidden.weight f32 (N + C * D, H)   hidden.bias f32 (H)   output.weight f32 (H)
                  output.bias f32 (1)   scale.mean, scale.factor (N)   scale.options (2)
                  R is a power of two; a category with hash h has row h & (R - 1); a missing one is all zeros
    river-*/1     see `river.exported`
    river/1       the state of an estimator of River, see `river.program`; only these need River where they are served
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import take
from rheostat.learners.logistic import linear_columns, one_hot, sigmoid
from rheostat.learners.river.exported import EXPORTED, RIVER, exported_predictor
from rheostat.learners.scaling import Scale

LINEAR = "linear/1"
HASHED_MLP = "hashed-mlp/1"

PARAMETER_MAX = 1e6
"""A step that makes a larger parameter is an explosion; below it no score can overflow."""

Singles = NDArray[np.float32]

_BINS_MAX = 1 << 16


def predictor(kind: str, schema: FeatureSchema, tensors: Tensors, *, copy: bool = True) -> Predictor:
    """Return what scores batches of `schema` with these parameters; without `copy` they must not change any more.

    Raises ValueError for an unknown kind, and for parameters that do not fit the schema or each other.
    """
    if kind == LINEAR:
        return linear_predictor(schema, _copied(tensors) if copy else tensors)
    if kind == HASHED_MLP:
        return mlp_predictor(schema, _copied(tensors) if copy else tensors)
    if kind in EXPORTED:
        return exported_predictor(kind, schema, _copied(tensors) if copy else tensors)
    if kind == RIVER:
        return _river_predictor(schema, tensors)
    raise ValueError(f"unknown kind of model {kind!r}; known are {', '.join((LINEAR, HASHED_MLP, *EXPORTED, RIVER))}")


def _river_predictor(schema: FeatureSchema, tensors: Tensors) -> Predictor:
    try:
        from rheostat.learners.river.served import RiverPredictor
    except ImportError as error:
        raise ValueError(f"a model of kind {RIVER!r} needs River, install rheostat[worker]: {error}") from None
    return RiverPredictor(schema, tensors)


def _copied(tensors: Tensors) -> Tensors:
    return {name: tensor.copy() for name, tensor in tensors.items()}


class LinearPredictor:
    """Logistic regression over scaled inputs."""

    def __init__(self, schema: FeatureSchema, bins: int, scale: Scale, weights: Floats, intercept: float) -> None:
        self._schema = schema
        self._bins = bins
        self._scale = scale
        self._weights = weights
        self._intercept = intercept

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        check_batch(self._schema, batch)
        scaled = self._scale.apply(one_hot(batch, self._bins))
        return sigmoid(scaled @ self._weights + self._intercept)


class MlpPredictor:
    """Embeddings of hashed categories beside scaled numbers, one hidden layer, one output."""

    def __init__(
        self,
        schema: FeatureSchema,
        scale: Scale,
        table: Singles,
        hidden: tuple[Singles, Singles],
        output: tuple[Singles, Singles],
    ) -> None:
        self._schema = schema
        self._scale = scale
        self._table = table
        self._hidden_weight, self._hidden_bias = hidden
        self._output_weight, self._output_bias = output

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        check_batch(self._schema, batch)
        hidden = self._inputs(batch) @ self._hidden_weight
        hidden += self._hidden_bias
        np.maximum(hidden, 0.0, out=hidden)
        logits = hidden @ self._output_weight + self._output_bias
        return sigmoid(logits.astype(np.float64))

    def _inputs(self, batch: Batch) -> Singles:
        columns = len(self._schema.numeric)
        inputs = np.empty((len(batch), self._hidden_weight.shape[0]), np.float32)
        if columns:
            inputs[:, :columns] = self._scale.apply(batch.numeric)
        if self._schema.categorical:
            inputs[:, columns:] = embed(self._table, batch.categorical)
        return inputs


def linear_predictor(schema: FeatureSchema, tensors: Tensors) -> LinearPredictor:
    """Return a predictor of kind linear/1 on these very arrays; ValueError if they do not fit the schema."""
    bins = int(take(tensors, "bins", np.uint64, (1,))[0])
    if not 1 <= bins <= _BINS_MAX:
        raise ValueError(f"tensor 'bins' must be in [1, {_BINS_MAX}], is {bins}")
    columns = linear_columns(schema, bins)
    weights = take(tensors, "weights", np.float64, (columns,))
    intercept = float(take(tensors, "intercept", np.float64, (1,))[0])
    return LinearPredictor(schema, bins, Scale.from_tensors(tensors, columns), weights, intercept)


def mlp_predictor(schema: FeatureSchema, tensors: Tensors) -> MlpPredictor:
    """Return a predictor of kind hashed-mlp/1 on these very arrays; ValueError if they do not fit."""
    table, bias = tensors.get("table"), tensors.get("hidden.bias")
    if table is None or table.ndim != 2 or table.shape[0] < 1 or table.shape[0] & (table.shape[0] - 1):
        raise ValueError("tensor 'table' is missing, or is not a power of two of rows")
    if bias is None or bias.ndim != 1:
        raise ValueError("tensor 'hidden.bias' is missing, or is not a vector")
    inputs = len(schema.numeric) + len(schema.categorical) * table.shape[1]
    units = bias.shape[0]
    weight = take(tensors, "hidden.weight", np.float32, (inputs, units))
    output = take(tensors, "output.weight", np.float32, (units,))
    return MlpPredictor(
        schema,
        Scale.from_tensors(tensors, len(schema.numeric)),
        take(tensors, "table", np.float32, table.shape),
        (weight, take(tensors, "hidden.bias", np.float32, (units,))),
        (output, take(tensors, "output.bias", np.float32, (1,))),
    )


def table_rows(categorical: NDArray[np.uint64], rows: int) -> NDArray[np.int64]:
    """Return the row of a table with `rows` rows (a power of two) for every hash."""
    return (categorical & np.uint64(rows - 1)).astype(np.int64)


def embed(table: Singles, categorical: NDArray[np.uint64]) -> Singles:
    """Return the embeddings of each row's categories side by side, zeros for a missing one."""
    vectors = table[table_rows(categorical, table.shape[0])]
    missing = categorical == 0
    if missing.any():
        vectors[missing] = 0.0
    return vectors.reshape(categorical.shape[0], categorical.shape[1] * table.shape[1])
