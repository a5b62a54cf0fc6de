"""What each feature contributed to one score, compared with a reference row, and what is no single feature's doing.

    value = base + sum of contributions + remainder

The reference has each number at the running mean of what was learned (0 for models that keep none), no text, and what
is not scored with (`training_only`) as in every score. `base` is what the model gives for it. Two methods:

    exact       linear/1: contribution = weight * scaled value, of a text what its bin adds to none; remainder 0
    occlusion   all others: f(row) - f(row with this feature as in the reference). What features do only together
                counts several times or not at all, and is the remainder: 0 for models that only add up.

Both are in log-odds where a score is a probability, and in the score itself where a model has actions or classes, of
which one is explained. What it says is about the model; nothing follows for the world. Ref.: Zeiler and Fergus (2014)
for occlusion; Shapley values would share the remainder out, at a cost that doubles with every feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Tensors
from rheostat.learners.linear_served import LinearPredictor
from rheostat.learners.logistic import sigmoid_one
from rheostat.learners.scaling import Scale

Unit = Literal["log-odds", "score"]

ODDS_CLIP = 1e-12
"""Probabilities nearer to 0 and 1 count as this where log-odds are taken of them."""


@runtime_checkable
class GivesChoices(Protocol):
    """What a predictor with one output for each action or class does besides."""

    def choices(self, batch: Batch) -> Floats:
        """Return what is expected of every action, float64 (rows, actions)."""
        ...


@dataclass(frozen=True, slots=True)
class Contributions:
    """By place in `names`: numbers, then texts. `points`: the change of the score itself, as if it came last."""

    unit: Unit
    method: Literal["exact", "occlusion"]
    reference: Literal["mean", "zero"]
    names: tuple[str, ...]
    base: float
    contribution: tuple[float, ...]
    points: tuple[float, ...]
    remainder: float
    value: float

    def in_points(self, value: float) -> float:
        """Return the score of a value in `unit`."""
        return value if self.unit == "score" else sigmoid_one(value)


def contributions(
    predictor: Predictor, schema: FeatureSchema, tensors: Tensors, batch: Batch, action: int | None = None
) -> Contributions:
    """Return what the features of a batch of one row contributed.

    action: the place of the action or class to explain, of a model that has them; the best one by default.
    """
    rows, names, reference = _rows(schema, tensors, batch)
    if isinstance(predictor, LinearPredictor):
        constant, of_all = _linear(schema, tensors, batch)
        value, each = constant + float(of_all.sum()), of_all[_scored(schema)]
        # What is not scored with adds the same to every score.
        base = value - float(each.sum())
        return Contributions("log-odds", "exact", reference, names, base, *_points("log-odds", each, value), 0.0, value)
    values, unit = _values(predictor, rows, action)
    value, base, each = float(values[0]), float(values[1]), values[0] - values[2:]
    remainder = value - base - float(each.sum())
    return Contributions(unit, "occlusion", reference, names, base, *_points(unit, each, value), remainder, value)


def _points(unit: Unit, each: Floats, value: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return contributions, and how far the score would be off without each of them."""
    found = tuple(map(float, each))
    if unit == "score":
        return found, found
    return found, tuple(sigmoid_one(value) - sigmoid_one(value - one) for one in found)


def _scored(schema: FeatureSchema) -> NDArray[np.intp]:
    """Return the places of the features that are scored with."""
    free = {name for name, _ in schema.training_only}
    return np.array([at for at, name in enumerate((*schema.numeric, *schema.categorical)) if name not in free], np.intp)


def _rows(
    schema: FeatureSchema, tensors: Tensors, batch: Batch
) -> tuple[Batch, tuple[str, ...], Literal["mean", "zero"]]:
    """Return the row, the reference, and for each feature the row with it as in the reference; and their names."""
    all_names, numbers = (*schema.numeric, *schema.categorical), len(schema.numeric)
    scored = _scored(schema)
    means, reference = _means(schema, tensors)
    numeric = np.repeat(batch.numeric, 2 + len(scored), axis=0)
    categorical = np.repeat(batch.categorical, 2 + len(scored), axis=0)
    for row, at in enumerate(scored.tolist(), start=2):
        for place in (1, row):
            if at < numbers:
                numeric[place, at] = means[at]
            else:
                categorical[place, at - numbers] = 0
    side = np.zeros(len(numeric)), np.ones(len(numeric))
    names = tuple(all_names[at] for at in scored)
    return replace(batch, numeric=numeric, categorical=categorical, label=side[0], weight=side[1]), names, reference


def _means(schema: FeatureSchema, tensors: Tensors) -> tuple[Floats, Literal["mean", "zero"]]:
    """Return the running mean of each number, taken back from the scale on which it is kept."""
    count = len(schema.numeric)
    options = tensors.get("scale.options")
    shaped = tensors.get("scale.mean")
    signed_log = options is None or bool(options[0])
    if shaped is None:
        # That of bandits, always on the scale of signed logarithms.
        shaped, signed_log = tensors.get("centre"), True
    if shaped is None or shaped.ndim != 1 or not count:
        return np.zeros(count), "zero"
    if len(shaped) * 2 == count:
        shaped = np.tile(shaped, 2)
    if len(shaped) < count:
        return np.zeros(count), "zero"
    mean = shaped[:count].astype(np.float64)
    return (np.copysign(np.expm1(np.abs(mean)), mean) if signed_log else mean), "mean"


def _linear(schema: FeatureSchema, tensors: Tensors, batch: Batch) -> tuple[float, Floats]:
    """Return the constant and what each feature adds to it, see `LinearPredictor`."""
    numbers, bins = len(schema.numeric), int(tensors["bins"][0])
    weights = tensors["weights"].astype(np.float64)
    scale = Scale.from_tensors(tensors, len(weights))
    of_numbers, of_bins = scale.of(slice(None, numbers)), scale.of(slice(numbers, None))
    absent, there = (of_bins.apply(np.full(len(weights) - numbers, value)) for value in (0.0, 1.0))
    each = np.zeros(numbers + len(schema.categorical))
    each[:numbers] = of_numbers.apply(batch.numeric)[0] * weights[:numbers]
    for place, given in enumerate(batch.categorical[0].tolist()):
        if given:
            at = place * bins + given % bins
            each[numbers + place] = (there[at] - absent[at]) * weights[numbers + at]
    return float(tensors["intercept"][0] + absent @ weights[numbers:]), each


def _values(predictor: Predictor, rows: Batch, action: int | None) -> tuple[Floats, Unit]:
    if isinstance(predictor, GivesChoices):
        given = predictor.choices(rows)
        return given[:, int(given[0].argmax()) if action is None else action], "score"
    score = np.clip(predictor.predict(rows), ODDS_CLIP, 1.0 - ODDS_CLIP)
    return np.log(score) - np.log1p(-score), "log-odds"
