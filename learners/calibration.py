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
_STEP_ROWS = 1_024
_PRIOR_ROWS = 10.0
_SLOPE_MIN = 1e-3
_SUMS = 6


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
    seen = weight > 0.0
    values, places = np.unique(score[seen], return_inverse=True)
    mass, label_mass, squared = (
        np.bincount(places, each, len(values)).astype(np.float64)
        for each in (weight[seen], (weight * label)[seen], weight[seen] ** 2)
    )
    return merged(Bins(mass, mass * values, label_mass, squared * values * (1.0 - values)), bins)


def merged(fine: Bins, bins: int = 15) -> Bins:
    """Put neighbouring bins, of rising score, together into at most `bins` of about the same weight."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    filled = Bins(*(each[fine.weights > 0.0] for each in fine))
    if not len(filled.weights):
        return filled
    middles = np.cumsum(filled.weights) - filled.weights / 2.0
    _, starts = np.unique((middles * (bins / filled.weights.sum())).astype(np.int64), return_index=True)
    return Bins(*(np.add.reduceat(each, starts) for each in filled))


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

    Every 1,024 examples it takes a Newton step on the log loss of the newest ones, earlier ones fading by half in
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
        self._gathered = np.zeros(_SUMS)

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
        return sigmoid(self.slope * logit(score) + self.offset)

    def learn(self, score: Floats, label: Floats, weight: Floats) -> None:
        """Learn from scored examples, in order; score and label in [0, 1]. Those of weight 0 are not seen.

        A weight below 0 takes an example back, whose label turned out to be another: the line moves as it would have
        moved the other way, and is held as firmly as before.
        """
        seen = weight != 0.0
        if not seen.all():
            score, label, weight = score[seen], label[seen], weight[seen]
        logits, start = logit(score), 0
        while start < len(logits):
            rows = slice(start, start + _STEP_ROWS - int(self._gathered[-1]))
            self._gather(logits[rows], label[rows], weight[rows])
            start = rows.stop
            if self._gathered[-1] == _STEP_ROWS:
                self._step()

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return all that was learned, as part of a snapshot: 12 numbers."""
        return {"platt.state": np.concatenate([self._line, self._curvature.ravel(), self._gathered])}

    def restore(self, tensors: Tensors) -> None:
        """Take over what `tensors` gave; ValueError if it does not fit."""
        state = take(tensors, "platt.state", np.float64, (6 + _SUMS,)).copy()
        self._line, self._curvature, self._gathered = state[:2], state[2:6].reshape(2, 2), state[6:]

    def _gather(self, logits: Floats, label: Floats, weight: Floats) -> None:
        """Add up what the next step needs, row by row: `cumsum` adds in order, so no cut changes a bit of it."""
        found = sigmoid(self.slope * logits + self.offset)
        pull = weight * (label - found)
        firm = np.maximum(weight, 0.0) * found * (1.0 - found)
        rows = np.empty((_SUMS, len(logits) + 1))
        rows[:, 0] = self._gathered
        rows[:, 1:] = pull * logits, pull, firm * logits * logits, firm * logits, firm, np.ones(len(logits))
        self._gathered = rows.cumsum(axis=1)[:, -1].copy()

    def _step(self) -> None:
        pull, (steep, mixed, flat) = self._gathered[:2], self._gathered[2:5].tolist()
        self._curvature = self._fades * self._curvature + np.array([[steep, mixed], [mixed, flat]])
        self._line = self._line + np.linalg.solve(self._prior + self._curvature, pull)
        self._line[0] = max(self._line[0], _SLOPE_MIN)
        self._gathered = np.zeros(_SUMS)


def logit(score: Floats) -> Floats:
    """Return ln(p / (1 - p)) of scores, which are taken to be in [1e-6, 1 - 1e-6]."""
    clipped = np.clip(score, _CLIP, 1.0 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)
