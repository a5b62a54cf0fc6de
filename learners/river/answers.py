"""What River answers for a row, as a score in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from river import anomaly

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.river.decode import decode
from rheostat.learners.river.encode import encode
from rheostat.learners.river.inputs import Inputs
from rheostat.learners.river.roles import Abilities, Role, detector

POSITIVE = (True, "True")
"""How River names the positive class; some of its batches make texts of labels."""


def scores(estimator: Any, abilities: Abilities, inputs: Inputs, batch: Batch, trained: bool, batched: bool) -> Floats:
    """Return River's answers for a batch, float64 (rows,) in [0, 1]; 1/2 for a row on which its arithmetic fails.

    What an answer would change is changed in a copy.
    """
    if not trained or not len(batch):
        return np.full(len(batch), 0.5)
    role = abilities.role
    if abilities.answers_change_it:
        estimator = decode(encode(estimator))
    with np.errstate(all="ignore"):
        if batched:
            return _scores_of_batch(estimator, role, inputs.frame(batch))
        read = _reader(estimator, role)
        return np.array([_score(read, x) for x in inputs.rows(batch)])


def _reader(estimator: Any, role: Role) -> Callable[[dict[str, Any]], float]:
    """Return the function that scores one row, in [0, 1]."""
    if role is Role.REGRESSOR:
        return lambda x: clipped(estimator.predict_one(x))
    if role is Role.DETECTOR:
        bounded = isinstance(detector(estimator), anomaly.HalfSpaceTrees)
        return lambda x: clipped(estimator.score_one(x)) if bounded else squashed(estimator.score_one(x))

    def probability(x: dict[str, Any]) -> float:
        try:
            return positive_share(estimator.predict_proba_one(x))
        except NotImplementedError:
            answer = estimator.predict_one(x)
            return 0.5 if answer is None else float(answer)

    return probability


def positive_share(probabilities: Mapping[Any, float]) -> float:
    """Return the probability of the positive label; 1/2 if there is none at all, 0 if only another is known."""
    for label in POSITIVE:
        if label in probabilities:
            return clipped(probabilities[label])
    return 0.0 if probabilities else 0.5


def clipped(value: Any) -> float:
    """Return a number within [0, 1]; what is not a number says nothing, 1/2."""
    number = 0.5 if value is None else float(value)
    return min(max(number, 0.0), 1.0) if number == number else 0.5


def squashed(value: Any) -> float:
    """Return a score of any size within [0, 1], in the same order: (1 + s / (1 + |s|)) / 2."""
    number = float(value)
    if number != number:
        return 0.5
    return 0.5 * (1.0 + number / (1.0 + abs(number))) if abs(number) < 1e300 else float(number > 0.0)


def _scores_of_batch(estimator: Any, role: Role, frame: pd.DataFrame) -> Floats:
    if role is Role.REGRESSOR:
        answers = np.asarray(estimator.predict_many(frame), np.float64)
    else:
        table = estimator.predict_proba_many(frame)
        known = [label for label in POSITIVE if label in table.columns]
        answers = (
            table[known[0]].to_numpy(np.float64) if known else np.full(len(frame), 0.0 if len(table.columns) else 0.5)
        )
    return np.clip(np.nan_to_num(answers, nan=0.5, posinf=1.0, neginf=0.0), 0.0, 1.0)


def _score(read: Any, x: dict[str, Any]) -> float:
    try:
        return float(read(x))
    except ArithmeticError:
        return 0.5
