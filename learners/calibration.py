"""Whether scores are probabilities, and how to make them so: calibration error, and Platt scaling learned on the way.

Only matured labels should come here: while positives are still on their way, everything looks overconfident.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take
from rheostat.learners.logistic import sigmoid

_CLIP = 1e-6
_STEP_ROWS = 256
_PRIOR_ROWS = 10.0
_SLOPE_MIN = 1e-3


class Bins(NamedTuple):
    """Scored examples in bins of rising score; each sums up the weights, the weighted scores and labels in it.

    variances: what the squared error of a bin's label sum is on average where every score is the true probability.
    """

    weights: Floats
    scores: Floats
    labels: Floats
    variances: Floats


def equal_mass_bins(score: Floats, label: Floats, weight: Floats, bins: int = 15) -> Bins:
    """Cut scored examples into at most `bins` bins of about the same weight; equal scores are never parted.

    score and label in [0, 1], weight >= 0; all of one length. Examples without weight are not seen.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    seen = weight > 0.0
    values, places = np.unique(score[seen], return_inverse=True)
    if not len(values):
        return Bins(*np.zeros((4, 0)))
    mass, label_mass, squared = (
        np.bincount(places, each, len(values)) for each in (weight[seen], (weight * label)[seen], weight[seen] ** 2)
    )
    middles = np.cumsum(mass) - mass / 2.0
    _, starts = np.unique((middles * (bins / mass.sum())).astype(np.int64), return_index=True)
    columns = mass, mass * values, label_mass, squared * values * (1.0 - values)
    return Bins(*(np.add.reduceat(each, starts) for each in columns))


def calibration_error(bins: Bins) -> float:
    """Return the expected calibration error: the mean distance of mean label and mean score of a bin, by weight.

    Naeini, Cooper and Hauskrecht (2015), with bins of equal mass after Nixon et al. (2019). 0 without examples.
    """
    total = float(bins.weights.sum())
    return float(np.abs(bins.labels - bins.scores).sum() / total) if total else 0.0


def error_by_chance(bins: Bins) -> float:
    """Return about how large the error would be if every score were the true probability of a label of 0 or 1.

    The mean distance of a normal variable is sqrt(2 / pi) deviations. An error is no news unless it is well above this.
    """
    total = float(bins.weights.sum())
    return float(math.sqrt(2.0 / math.pi) * np.sqrt(bins.variances).sum() / total) if total else 0.0


class PlattScaling:
    """Learns `p = sigmoid(slope * logit(score) + offset)` from scored examples as they come (Platt 1999).

    Every 256 examples it takes a Newton step on the log loss of the newest ones, earlier ones fading by half in
    `halflife_rows`: the online Newton step that Gupta and Ramdas (2023) use for Platt scaling, with fading so that it
    follows a model that changes. It starts as the identity and leaves it as evidence comes. The slope stays positive,
    so the order of scores, and with it ROC AUC, is never changed. How examples are cut into calls does not matter.
    """

    def __init__(self, halflife_rows: float = 20_000.0) -> None:
        if not halflife_rows > 0.0:
            raise ValueError(f"halflife_rows must be above 0, got {halflife_rows}")
        self._fades = 0.5 ** (_STEP_ROWS / halflife_rows)
        self._line = np.array([1.0, 0.0])
        self._prior = _PRIOR_ROWS / 4.0 * np.eye(2)
        self._curvature = np.zeros((2, 2))
        self._waiting = np.zeros((3, 0))

    @property
    def slope(self) -> float:
        """How much the logit of a score is stretched; below 1 the scores are overconfident."""
        return float(self._line[0])

    @property
    def offset(self) -> float:
        """What is added to it, in nats."""
        return float(self._line[1])

    def calibrated(self, score: Floats) -> Floats:
        """Return probabilities for scores in [0, 1], of any shape, without changing any state."""
        return sigmoid(self.slope * _logit(score) + self.offset)

    def learn(self, score: Floats, label: Floats, weight: Floats) -> None:
        """Learn from scored examples, in order; score and label in [0, 1], weight >= 0, where 0 is not seen."""
        seen = weight > 0.0
        rows = np.concatenate([self._waiting, np.stack([score[seen], label[seen], weight[seen]])], axis=1)
        full = rows.shape[1] - rows.shape[1] % _STEP_ROWS
        for start in range(0, full, _STEP_ROWS):
            self._step(*rows[:, start : start + _STEP_ROWS])
        self._waiting = rows[:, full:].copy()

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return all that was learned, as part of a snapshot."""
        named = {"line": self._line, "curvature": self._curvature, "waiting": self._waiting}
        return {f"platt.{name}": array.copy() for name, array in named.items()}

    def restore(self, tensors: Tensors) -> None:
        """Take over what `tensors` gave; ValueError if it does not fit."""
        waiting = tensors.get("platt.waiting")
        rows = 0 if waiting is None else waiting.size // 3
        self._line = take(tensors, "platt.line", np.float64, (2,)).copy()
        self._curvature = take(tensors, "platt.curvature", np.float64, (2, 2)).copy()
        self._waiting = take(tensors, "platt.waiting", np.float64, (3, rows)).copy()

    def _step(self, score: Floats, label: Floats, weight: Floats) -> None:
        inputs = np.stack([_logit(score), np.ones(len(score))])
        found = sigmoid(self._line @ inputs)
        self._curvature = self._fades * self._curvature + (inputs * (weight * found * (1.0 - found))) @ inputs.T
        gradient = inputs @ (weight * (label - found))
        self._line = self._line + np.linalg.solve(self._prior + self._curvature, gradient)
        self._line[0] = max(self._line[0], _SLOPE_MIN)


def _logit(score: Floats) -> Floats:
    clipped = np.clip(score, _CLIP, 1.0 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)
