"""Platt scaling learned on the way: how scores are made probabilities.

Only matured labels should come here: while positives are still on their way, everything looks overconfident.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.learners.calibration import logit
from rheostat.learners.compiled import FLOATS, compiled
from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take
from rheostat.learners.logistic import sigmoid

_STEP_ROWS = 1_024
_PRIOR_ROWS = 10.0
_SLOPE_MIN = 1e-3
_SUMS = 6


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
        """Add up what the next step needs, row by row, so that no cut changes a bit of it."""
        found = sigmoid(self.slope * logits + self.offset)
        _add_up(found, logits, label, weight, self._gathered)

    def _step(self) -> None:
        pull, (steep, mixed, flat) = self._gathered[:2], self._gathered[2:5].tolist()
        self._curvature = self._fades * self._curvature + np.array([[steep, mixed], [mixed, flat]])
        self._line = self._line + np.linalg.solve(self._prior + self._curvature, pull)
        self._line[0] = max(self._line[0], _SLOPE_MIN)
        self._gathered = np.zeros(_SUMS)


@compiled(types.void(FLOATS, FLOATS, FLOATS, FLOATS, types.float64[::1]))
def _add_up(found: Floats, logits: Floats, label: Floats, weight: Floats, sums: Floats) -> None:
    """Add every row's pulls on slope and offset, its three curvatures, and 1 to six sums."""
    for row in range(len(found)):
        logit, pull = logits[row], weight[row] * (label[row] - found[row])
        firm = max(weight[row], 0.0) * found[row] * (1.0 - found[row])
        sums[0] += pull * logit
        sums[1] += pull
        sums[2] += firm * logit * logit
        sums[3] += firm * logit
        sums[4] += firm
        sums[5] += 1.0
