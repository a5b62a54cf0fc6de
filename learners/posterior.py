"""What is known of the weights of a logistic regression: a normal distribution, updated as rows come in.

Sequential Bayesian logistic regression by Laplace's approximation (Spiegelhalter and Lauritzen 1990; MacKay 1992): the
log of the posterior is kept as a quadratic, and each micro-batch adds the quadratic of its log loss at the mean before
it. That is one Newton step over all rows seen, for the price of one over the micro-batch: no learning rate, and weights
of few rows move by as much as those rows tell. Forgetting draws what is known back to the prior by a little at every
row (Kulhavy and Zarrop 1993), so changes are followed for ever, and a direction that no row told about is as uncertain
as at first, never more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take
from rheostat.learners.logistic import sigmoid

CURVATURE_MIN = 0.01
"""A row counts as at least this certain: where the model is sure and wrong, Newton's step would be without bounds."""


class Posterior:
    """Mean and precision (the inverse of the covariance) of the weights.

    prior: float64 (columns,), the precision before the first row, about a mean of 0. memory_rows: what a row told fades
    to 1/e in so many rows.
    """

    def __init__(self, prior: Floats, memory_rows: float) -> None:
        if not ((prior > 0.0).all() and memory_rows > 0.0):
            raise ValueError("a prior precision and memory_rows must be above 0")
        self._prior = prior
        self._memory_rows = memory_rows
        self.mean: Floats = np.zeros(len(prior))
        self._precision: Floats = np.diag(prior)

    def learn(self, columns: Floats, label: Floats, weight: Floats, largest: float) -> bool:
        """Learn from rows (rows, columns) with labels in [0, 1] and weights; False, and no change, if that explodes.

        largest: a mean beyond this has exploded.
        """
        kept = math.exp(-len(columns) / self._memory_rows)
        score = sigmoid(columns @ self.mean)
        certainty = weight * np.maximum(score * (1.0 - score), CURVATURE_MIN)
        roots = columns * np.sqrt(certainty)[:, None]
        # A product with its own transpose takes numpy half the time of another product.
        precision = roots.T @ roots
        precision += kept * self._precision
        precision[np.diag_indices_from(precision)] += (1.0 - kept) * self._prior
        pull = columns.T @ (weight * (label - score)) - (1.0 - kept) * self._prior * self.mean
        mean = self.mean + np.linalg.solve(precision, pull)
        # NaN passes no comparison.
        if not (np.abs(mean).max() <= largest and math.isfinite(float(precision.sum()))):
            return False
        self.mean, self._precision = mean, precision
        return True

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return copies of mean and precision, part of a snapshot."""
        return {"weights": self.mean.copy(), "precision": self._precision.copy()}

    def restore(self, tensors: Tensors) -> None:
        """Take over mean and precision; ValueError if they do not fit."""
        columns = len(self._prior)
        mean = take(tensors, "weights", np.float64, (columns,)).copy()
        self._precision = take(tensors, "precision", np.float64, (columns, columns)).copy()
        self.mean = mean
