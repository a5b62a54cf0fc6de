"""What rows say about the rewards of each action, as sums: enough for a linear regression, and all that is kept.

For an action with rows x (P inputs, the first of them 1), weight w and reward r, with what time has left of the row:

    moments[action] = sum of w x x'      rewards[action] = sum of w r x

Sums do not depend on the order of rows, and what was added can be subtracted: to rounding, in both cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take

ROUNDING = 1e-6
"""A sum of squares that is below zero by less than this share is rounded; by more, and its rows were never learned."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows to add or to take back: inputs (rows, P); action, int64 in [0, K); weight and reward (rows,)."""

    inputs: Floats
    action: NDArray[np.int64]
    weight: Floats
    reward: Floats


class Evidence:
    """The sums of K actions over P inputs: moments (K, P, P), rewards (K, P)."""

    def __init__(self, actions: int, columns: int) -> None:
        self.moments = np.zeros((actions, columns, columns))
        self.rewards = np.zeros((actions, columns))

    def age(self, share: float) -> None:
        """Leave this share of everything."""
        self.moments *= share
        self.rewards *= share

    def add(self, rows: Rows) -> NDArray[np.int64]:
        """Count rows in; return the actions they are of, rising."""
        return self._sum(rows, 1.0)

    def take_back(self, rows: Rows) -> NDArray[np.int64]:
        """Count rows out; return the actions they were taken from, rising.

        Nothing is taken from an action where a sum of squares would turn negative: not all of that was in it.
        """
        squares = np.einsum("kii->ki", self.moments)
        taken = np.zeros_like(squares)
        np.add.at(taken, rows.action, rows.inputs**2 * rows.weight[:, np.newaxis])
        held = (squares - taken >= -ROUNDING * np.maximum(1.0, squares)).all(axis=1)[rows.action]
        return self._sum(Rows(rows.inputs[held], rows.action[held], rows.weight[held], rows.reward[held]), -1.0)

    def _sum(self, rows: Rows, sign: float) -> NDArray[np.int64]:
        actions = np.unique(rows.action)
        for action in actions.tolist():
            of_it = rows.action == action
            inputs = rows.inputs[of_it]
            weighted = inputs * (sign * rows.weight[of_it])[:, np.newaxis]
            self.moments[action] += weighted.T @ inputs
            self.rewards[action] += weighted.T @ rows.reward[of_it]
        return actions

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the sums, as part of a snapshot."""
        return {"evidence.moments": self.moments.copy(), "evidence.rewards": self.rewards.copy()}

    def restore(self, tensors: Tensors) -> None:
        """Take over the sums of a snapshot; ValueError if they do not fit."""
        moments = take(tensors, "evidence.moments", np.float64, self.moments.shape).copy()
        self.rewards = take(tensors, "evidence.rewards", np.float64, self.rewards.shape).copy()
        self.moments = moments
