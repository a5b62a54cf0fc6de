"""Parameters of River's estimators as named numbers, where their answers are a formula of those (see `exported`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import compose, facto, linear_model, naive_bayes, optim, preprocessing

from rheostat.learners.contract import Floats
from rheostat.learners.river.exported import RIVER_FM, RIVER_GAUSSIAN_NB, RIVER_LINEAR

Exported = dict[str, NDArray[np.generic]]

ONE_CLASS = 1e6
"""The logit where only one class was seen: its probability is exactly 1."""


@dataclass(frozen=True, slots=True)
class Export:
    """A kind of parameters, and what takes them out of an estimator with inputs of these names."""

    kind: str
    tensors: Callable[[Any, list[str]], Exported]


def export_of(estimator: Any, batched: bool) -> Export | None:
    """Return how an estimator's parameters are taken out, or None if its answers are no formula of `exported`."""
    scaler, model = _parts(estimator)
    if type(model) in (linear_model.LogisticRegression, linear_model.LinearRegression):
        # Any other loss would make another curve from a sum to a probability.
        known = type(model) is linear_model.LinearRegression or type(model.loss) is optim.losses.Log
        return Export(RIVER_LINEAR, _linear_rows if not batched else _linear_batches) if known else None
    if scaler is not None:
        return None
    if type(model) is naive_bayes.MultinomialNB and not batched:
        return Export(RIVER_LINEAR, _multinomial)
    if type(model) is naive_bayes.GaussianNB:
        return Export(RIVER_GAUSSIAN_NB, _gaussian_nb)
    if type(model) in (facto.FMClassifier, facto.FMRegressor) and not model.sample_normalization:
        return Export(RIVER_FM, _fm)
    return None


def _parts(estimator: Any) -> tuple[Any, Any]:
    """Return (scaler or None, model); (None, None) for anything with other steps."""
    if not isinstance(estimator, compose.Pipeline):
        return None, estimator
    *before, model = estimator.steps.values()
    if not before:
        return None, model
    if len(before) == 1 and type(before[0]) in _SCALERS and before[0].window_size is None:
        return before[0], model
    return None, None


def _linear_rows(estimator: Any, names: list[str]) -> Exported:
    return _linear(estimator, names, 0.0)


def _linear_batches(estimator: Any, names: list[str]) -> Exported:
    return _linear(estimator, names, 1.0)


def _linear(estimator: Any, names: list[str], factor_of_constants: float) -> Exported:
    """River's scaler gives 0 for an input that never varied row by row, and x - mean in batches."""
    scaler, model = _parts(estimator)
    mean, deviation = (np.zeros(len(names)), np.ones(len(names))) if scaler is None else _scale(scaler, names)
    factor = np.divide(1.0, deviation, out=np.full(len(names), factor_of_constants), where=deviation > 0.0)
    return {
        "scale.mean": mean,
        "scale.factor": factor,
        "weights": _column(model.weights, names),
        "intercept": np.array([float(model.intercept)]),
        "number": np.array([isinstance(model, linear_model.LinearRegression)], np.uint64),
    }


def _scale(scaler: Any, names: list[str]) -> tuple[Floats, Floats]:
    return _SCALERS[type(scaler)](scaler, names)


def _standard(scaler: Any, names: list[str]) -> tuple[Floats, Floats]:
    deviation = np.sqrt(_column(scaler.vars, names)) if scaler.with_std else np.ones(len(names))
    return _column(scaler.means, names), deviation


def _min_max(scaler: Any, names: list[str]) -> tuple[Floats, Floats]:
    low, high = (_column({name: each.get() for name, each in side.items()}, names) for side in (scaler.min, scaler.max))
    return low, high - low


def _max_abs(scaler: Any, names: list[str]) -> tuple[Floats, Floats]:
    return np.zeros(len(names)), _column({name: each.get() for name, each in scaler.abs_max.items()}, names)


_SCALERS: dict[type, Callable[[Any, list[str]], tuple[Floats, Floats]]] = {
    preprocessing.MaxAbsScaler: _max_abs,
    preprocessing.MinMaxScaler: _min_max,
    preprocessing.StandardScaler: _standard,
}


def _multinomial(estimator: Any, names: list[str]) -> Exported:
    """The logit of two classes is linear in the counts: log p(positive) / p(negative), and so for each input."""
    _, model = _parts(estimator)
    counts = [model.class_counts.get(label, 0) for label in (False, True)]
    weights, intercept = np.zeros(len(names)), ONE_CLASS if counts[1] else -ONE_CLASS
    if all(counts):
        share = [[model.p_feature_given_class(name, label) for name in names] for label in (False, True)]
        weights, intercept = np.log(share[1]) - np.log(share[0]), math.log(counts[1]) - math.log(counts[0])
    return {
        "scale.mean": np.zeros(len(names)),
        "scale.factor": np.ones(len(names)),
        "weights": weights,
        "intercept": np.array([intercept]),
        "number": np.zeros(1, np.uint64),
    }


def _gaussian_nb(estimator: Any, names: list[str]) -> Exported:
    _, model = _parts(estimator)
    counts, mean, variance = np.zeros(2), np.zeros((2, len(names))), np.zeros((2, len(names)))
    for row, label in enumerate((False, True)):
        counts[row] = model.class_counts.get(label, 0)
        for column, gaussian in enumerate(model.gaussians.get(label, {}).get(name) for name in names):
            if gaussian is not None:
                mean[row, column], variance[row, column] = gaussian.mu, gaussian.sigma**2
    return {"counts": counts, "mean": mean, "variance": variance}


def _fm(estimator: Any, names: list[str]) -> Exported:
    _, model = _parts(estimator)
    latents = [model.latents.get(name, np.zeros(model.n_factors)) for name in names]
    return {
        "weights": _column(model.weights, names),
        "latents": np.array(latents, np.float64).reshape(len(names), model.n_factors),
        "intercept": np.array([float(model.intercept)]),
        "number": np.array([isinstance(model, facto.FMRegressor)], np.uint64),
    }


def _column(values: Any, names: list[str]) -> Floats:
    """Return values by name as an array, 0 for a name that was not seen yet."""
    return np.array([float(values.get(name, 0.0)) for name in names])
