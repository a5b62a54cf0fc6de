"""Scoring with what River learned, in numpy alone, for the families whose answers are a formula of named numbers.

All kinds have: trained u64 (1), inputs.bins u64 (1), inputs.options f64 (2): signed log, no negative numbers (0 or 1).
P inputs are those of `numbers`; before the first row every score is 1/2.

    river-linear/1        scale.mean, scale.factor, weights (P)   intercept (1)   number u64 (1)
    river-fm/1            weights (P)   latents (P, F)   intercept (1)   number u64 (1)
    river-gaussian-nb/1   counts (2)   mean, variance (2, P), of the negative and the positive class

`number` is 0 where the answer is a probability, sigmoid(z), and 1 where it is z itself, cut to [0, 1].

    linear        z = intercept + sum of weight * (x - mean) * factor
    fm            z = intercept + w x + ((V' x)^2 - (V^2)' (x^2)) / 2, summed over factors   (Rendle 2010, Lemma 3.1)
    gaussian-nb   per class: log(share of counts) + sum over inputs of log(1e-9 + normal density; 0 if variance is 0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import take
from rheostat.learners.logistic import linear_columns, sigmoid
from rheostat.learners.river.numbers import Numbers

RIVER = "river/1"
"""Any other estimator: see `served`."""

RIVER_LINEAR = "river-linear/1"
RIVER_FM = "river-fm/1"
RIVER_GAUSSIAN_NB = "river-gaussian-nb/1"

DENSITY_FLOOR = 1e-9
"""River adds this to every density before taking its logarithm."""

_BINS_MAX = 1 << 16

Formula = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class FormulaPredictor:
    """A formula over the numbers of a row."""

    schema: FeatureSchema
    numbers: Numbers
    trained: bool
    formula: Formula

    def predict(self, batch: Batch) -> Floats:
        """Return the answer for each row, float64 (rows,) in [0, 1]."""
        check_batch(self.schema, batch)
        if not self.trained or not len(batch):
            return np.full(len(batch), 0.5)
        with np.errstate(all="ignore"):
            answers = self.formula(self.numbers.of(batch))
        return np.clip(np.nan_to_num(answers, nan=0.5, posinf=1.0, neginf=0.0), 0.0, 1.0)


def common_tensors(numbers: Numbers, trained: bool) -> dict[str, NDArray[np.generic]]:
    """Return what all kinds have."""
    return {
        "trained": np.array([trained], np.uint64),
        "inputs.bins": np.array([numbers.bins], np.uint64),
        "inputs.options": np.array([float(numbers.signed_log), float(numbers.positive)]),
    }


def exported_predictor(kind: str, schema: FeatureSchema, tensors: Tensors) -> Predictor:
    """Return a predictor of one of `EXPORTED` on these very arrays; ValueError if they do not fit the schema."""
    bins = int(take(tensors, "inputs.bins", np.uint64, (1,))[0])
    if bins > _BINS_MAX:
        raise ValueError(f"tensor 'inputs.bins' must be at most {_BINS_MAX}, is {bins}")
    options = take(tensors, "inputs.options", np.float64, (2,))
    trained = bool(take(tensors, "trained", np.uint64, (1,))[0])
    numbers = Numbers(bins, bool(options[0]), bool(options[1]))
    return FormulaPredictor(schema, numbers, trained, EXPORTED[kind](tensors, linear_columns(schema, bins)))


def _linear(tensors: Tensors, columns: int) -> Formula:
    mean, factor, weights = (
        take(tensors, name, np.float64, (columns,)) for name in ("scale.mean", "scale.factor", "weights")
    )
    intercept, answer = float(take(tensors, "intercept", np.float64, (1,))[0]), _answer(tensors)
    return lambda x: answer(((x - mean) * factor) @ weights + intercept)


def _fm(tensors: Tensors, columns: int) -> Formula:
    latents = tensors.get("latents")
    if latents is None or latents.ndim != 2:
        raise ValueError("tensor 'latents' is missing, or is no table")
    factors = take(tensors, "latents", np.float64, (columns, latents.shape[1]))
    weights = take(tensors, "weights", np.float64, (columns,))
    intercept, answer = float(take(tensors, "intercept", np.float64, (1,))[0]), _answer(tensors)

    def formula(x: Floats) -> Floats:
        pairs = (x @ factors) ** 2 - (x * x) @ (factors * factors)
        return answer(intercept + x @ weights + 0.5 * pairs.sum(axis=1))

    return formula


def _gaussian_nb(tensors: Tensors, columns: int) -> Formula:
    counts = take(tensors, "counts", np.float64, (2,))
    mean, variance = (take(tensors, name, np.float64, (2, columns)) for name in ("mean", "variance"))

    def formula(x: Floats) -> Floats:
        if not counts.all():
            return np.full(len(x), float(counts[1] > 0.0))
        likelihood = [np.log(counts[c] / counts.sum()) + _log_densities(x, mean[c], variance[c]) for c in (0, 1)]
        return sigmoid(likelihood[1] - likelihood[0])

    return formula


def _log_densities(x: Floats, mean: Floats, variance: Floats) -> Floats:
    density = np.exp(-((x - mean) ** 2) / (2.0 * variance)) / np.sqrt(2.0 * np.pi * variance)
    logs = np.log(DENSITY_FLOOR + np.where(variance > 0.0, density, 0.0))
    return np.asarray(logs.sum(axis=1), np.float64)


def _answer(tensors: Tensors) -> Formula:
    return np.asarray if take(tensors, "number", np.uint64, (1,))[0] else sigmoid


EXPORTED: Mapping[str, Callable[[Tensors, int], Formula]] = {
    RIVER_LINEAR: _linear,
    RIVER_FM: _fm,
    RIVER_GAUSSIAN_NB: _gaussian_nb,
}
