"""Scoring with logistic regression: a category that was learned as a 0/1 input for each of its bins is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import take
from rheostat.learners.logistic import linear_columns, sigmoid, sigmoid_one
from rheostat.learners.scaling import Scale

_BINS_MAX = 1 << 16


class LinearPredictor:
    """Logistic regression over scaled inputs.

    A bin adds z(1) * weight to the sum where its category is there and z(0) * weight where it is not, z being the
    scale. The sum of the latter over all bins is part of the intercept here; what is looked up is the difference.
    """

    def __init__(self, schema: FeatureSchema, bins: int, scale: Scale, weights: Floats, intercept: float) -> None:
        numbers = len(schema.numeric)
        of_numbers, of_bins = scale.of(slice(None, numbers)), scale.of(slice(numbers, None))
        self._schema = schema
        self._bins = bins
        self._scale = of_numbers
        self._weights = weights[:numbers]
        self._weight_list = self._weights.tolist()
        with np.errstate(all="ignore"):
            absent, there = (of_bins.apply(np.full(len(weights) - numbers, value)) for value in (0.0, 1.0))
            self._intercept = float(intercept + absent @ weights[numbers:])
            # The last place is that of a category which is missing.
            self._of_bin = np.append((there - absent) * weights[numbers:], 0.0)
        self._first = np.arange(len(schema.categorical)) * bins

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        check_batch(self._schema, batch)
        sums = self._scale.apply(batch.numeric) @ self._weights
        sums += self._intercept
        if batch.categorical.shape[1]:
            sums += self._of_bin.take(self._places(batch.categorical)).sum(axis=1)
        return sigmoid(sums)

    def predict_one(self, numeric: Sequence[float], categorical: Sequence[int]) -> float:
        """Return the same for one row, to rounding, see `PredictsOne`: calls of numpy alone would take longer."""
        total = sum(map(mul, self._scale.apply_one(numeric), self._weight_list), self._intercept)
        first = 0
        for each in categorical:
            if each:
                total += self._of_bin.item(first + each % self._bins)
            first += self._bins
        return sigmoid_one(total)

    def _places(self, categorical: NDArray[np.uint64]) -> NDArray[np.int64]:
        places: NDArray[np.int64] = (categorical % np.uint64(self._bins)).astype(np.int64)
        places += self._first
        if not categorical.all():
            places[categorical == 0] = len(self._of_bin) - 1
        return places


def linear_predictor(schema: FeatureSchema, tensors: Tensors) -> LinearPredictor:
    """Return a predictor of kind linear/1 with these parameters; ValueError if they do not fit the schema."""
    bins = int(take(tensors, "bins", np.uint64, (1,))[0])
    if not 1 <= bins <= _BINS_MAX:
        raise ValueError(f"tensor 'bins' must be in [1, {_BINS_MAX}], is {bins}")
    columns = linear_columns(schema, bins)
    weights = take(tensors, "weights", np.float64, (columns,))
    intercept = float(take(tensors, "intercept", np.float64, (1,))[0])
    return LinearPredictor(schema, bins, Scale.from_tensors(tensors, columns), weights, intercept)
