"""From sums to beliefs: Bayesian linear regression of the reward of each action (Li et al. 2010, "disjoint" LinUCB).

With z the standardised inputs, base the mean reward over all actions, and L L' = ridge I + sum of w z z' (Cholesky):

    reward = base + z' mean + noise      mean = (L L')^-1 sum of w (r - base) z      root = L^-1
    standard deviation of z' mean = noise |root z|                                    noise^2 = base (1 - base)

So an action of which nothing is known is believed to be as good as all are on average. Before the first row `base` is
1/2; it is smoothed by one success and one failure, so that noise is never 0.

The numbers are standardised by mean and deviation over all actions, which follow from the sums themselves; this shapes
the prior only. Both are rounded coarsely (deviation to a power of two, mean to a quarter of it), so that they seldom
change, and a new version differs from the last only in the actions that were learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.bandits.evidence import Evidence
from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take

CONSTANT_BELOW = 1e-5
"""A number whose deviation is below this share of its mean is constant: what is left is rounding of the sums."""


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """z = (x - centre) * factor for the N numbers; factor 0 for a constant one. The other inputs stay as they are."""

    centre: Floats
    factor: Floats

    def same(self, other: Standard) -> bool:
        """Return whether both do the same."""
        return np.array_equal(self.centre, other.centre) and np.array_equal(self.factor, other.factor)

    def apply(self, inputs: Floats) -> Floats:
        """Return inputs (rows, P) standardised, in their place."""
        numbers = inputs[:, 1 : 1 + len(self.centre)]
        numbers -= self.centre
        numbers *= self.factor
        return inputs

    def matrix(self, columns: int) -> Floats:
        """Return T (P, P) with z = T x."""
        matrix = np.eye(columns)
        for column, (centre, factor) in enumerate(zip(self.centre, self.factor, strict=True), start=1):
            matrix[column, column] = factor
            matrix[column, 0] = -centre * factor
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Beliefs about K actions: mean (K, P), root (K, P, P) lower triangular."""

    standard: Standard
    base: float
    mean: Floats
    root: Floats

    @property
    def noise(self) -> float:
        """Standard deviation of a single reward about its expectation."""
        return float(np.sqrt(self.base * (1.0 - self.base)))

    def expected(self, standardised: Floats) -> Floats:
        """Return the expected rewards (rows, K); a line has no bounds, so they may leave [0, 1]."""
        return self.base + standardised @ self.mean.T

    def uncertainty(self, standardised: Floats) -> Floats:
        """Return the standard deviations of `expected` (rows, K), above 0."""
        found = np.empty((len(standardised), len(self.root)))
        for action, root in enumerate(self.root):
            projected = standardised @ root.T
            found[:, action] = np.sqrt(np.einsum("ij,ij->i", projected, projected))
        return found * self.noise

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the beliefs as named arrays, part of a model's parameters; of `root` the lower triangle alone."""
        lower = np.tril_indices(self.root.shape[1])
        return {
            "centre": self.standard.centre.copy(),
            "factor": self.standard.factor.copy(),
            "base": np.array([self.base]),
            "mean": self.mean.copy(),
            "root": self.root[:, lower[0], lower[1]],
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, numbers: int, actions: int, columns: int) -> Self:
        """Return the beliefs that `tensors` described; ValueError if they do not fit."""
        packed = take(tensors, "root", np.float64, (actions, columns * (columns + 1) // 2))
        lower = np.tril_indices(columns)
        root = np.zeros((actions, columns, columns))
        root[:, lower[0], lower[1]] = packed
        base = float(take(tensors, "base", np.float64, (1,))[0])
        if not 0.0 < base < 1.0:
            raise ValueError(f"tensor 'base' must be in (0, 1), is {base}")
        centre, factor = (take(tensors, name, np.float64, (numbers,)) for name in ("centre", "factor"))
        return cls(Standard(centre, factor), base, take(tensors, "mean", np.float64, (actions, columns)), root)


class Beliefs:
    """The posterior of evidence that grows: only what is `stale` is solved anew."""

    def __init__(self, numbers: int, actions: int, columns: int, ridge: float) -> None:
        self._numbers = numbers
        self._ridge = ridge
        self._standard = Standard(np.zeros(numbers), np.zeros(numbers))
        self._root = np.tile(np.eye(columns) / np.sqrt(ridge), (actions, 1, 1))
        self._stale = np.ones(actions, np.bool_)

    def stale(self, actions: NDArray[np.int64] | slice) -> None:
        """The evidence on these actions has changed."""
        self._stale[actions] = True

    def posterior(self, evidence: Evidence) -> Posterior:
        """Return the beliefs that follow."""
        pooled = evidence.moments.sum(axis=0)
        standard = _standard(pooled, self._numbers)
        if not standard.same(self._standard):
            self._stale[:] = True
        matrix = standard.matrix(pooled.shape[0])
        root = self._root.copy()
        if self._stale.any():
            moments = matrix @ evidence.moments[self._stale] @ matrix.T
            root[self._stale] = _inverse_root(moments, self._ridge)
        count = max(float(pooled[0, 0]), 0.0)
        # Rewards taken back that were never given would leave less than nothing, or more than every row's 1.
        base = (min(max(float(evidence.rewards[:, 0].sum()), 0.0), count) + 1.0) / (count + 2.0)
        surplus = (evidence.rewards - base * evidence.moments[:, :, 0]) @ matrix.T
        mean = np.einsum("kji,kj->ki", root, np.einsum("kij,kj->ki", root, surplus))
        self._standard, self._root = standard, root
        self._stale[:] = False
        return Posterior(standard, base, mean, root)


def _standard(pooled: Floats, numbers: int) -> Standard:
    count = max(float(pooled[0, 0]), 0.0)
    if count < 1e-9:
        return Standard(np.zeros(numbers), np.zeros(numbers))
    columns = slice(1, 1 + numbers)
    mean = pooled[0, columns] / count
    variance = np.maximum(np.diagonal(pooled)[columns] / count - mean * mean, 0.0)
    deviation = np.sqrt(variance)
    varies = (deviation > CONSTANT_BELOW * np.abs(mean)) & (deviation > 1e-100)
    width = np.exp2(np.rint(np.log2(np.where(varies, deviation, 1.0))))
    return Standard(np.rint(mean / width * 4.0) * width / 4.0, np.where(varies, 1.0 / width, 0.0))


def _inverse_root(moments: Floats, ridge: float) -> Floats:
    """Return L^-1 with L L' = ridge I + moments, for each of a stack."""
    identity = np.eye(moments.shape[-1])
    symmetric = (moments + moments.transpose(0, 2, 1)) / 2.0
    try:
        lower = np.linalg.cholesky(symmetric + ridge * identity)
    except np.linalg.LinAlgError:
        # No sum of squares: rows were taken back that were never learned. The nearest one is taken for it.
        values, vectors = np.linalg.eigh(symmetric)
        nearest = (vectors * np.maximum(values, 0.0)[:, np.newaxis, :]) @ vectors.transpose(0, 2, 1)
        lower = np.linalg.cholesky((nearest + nearest.transpose(0, 2, 1)) / 2.0 + ridge * identity)
    return np.tril(np.linalg.solve(lower, np.broadcast_to(identity, lower.shape)))
