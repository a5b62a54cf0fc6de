"""The scale of inputs, kept while a model learns.

The mean and variance are those of River's `StandardScaler`, kept here by the merge formula of Chan, Golub and LeVeque
(1979) on centred sums of squares: E[x^2] - mean^2 loses all digits when the mean is large (a timestamp), and can even
turn negative.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.learners.compiled import FLOATS, compiled
from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take
from rheostat.learners.scaling import Scale, shape_inputs

CONSTANT_BELOW = 1e-12
"""A feature whose deviation is below this share of its mean is constant: what is left is rounding."""


class RunningScale:
    """Count, mean and centred sum of squares of every column of what was learned so far.

    The arrays are public for compiled steps, which move them by `count_in`.
    """

    def __init__(self, columns: int, signed_log: bool, clip: float) -> None:
        if not clip > 0.0:
            raise ValueError(f"clip must be above 0 standard deviations, got {clip}")
        self.signed_log = signed_log
        self.clip = clip
        self.count = np.zeros(1)
        self.mean = np.zeros(columns)
        self.squares = np.zeros(columns)
        self.factor = np.zeros(columns)

    def update(self, inputs: Floats) -> Floats:
        """Count raw inputs (rows, columns) in, at least one row, and return them as the model's inputs as of then."""
        shaped = np.ascontiguousarray(shape_inputs(inputs, self.signed_log))
        count_in(shaped, len(shaped), self.count, self.mean, self.squares, self.factor, self.clip)
        return shaped

    def frozen(self) -> Scale:
        """Return the transformation as of now."""
        return Scale(self.mean.copy(), self.factor.copy(), self.signed_log, self.clip)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the running state, as part of a snapshot."""
        return {
            "running.count": self.count.copy(),
            "running.mean": self.mean.copy(),
            "running.squares": self.squares.copy(),
        }

    def restore(self, tensors: Tensors) -> None:
        """Take over a running state; ValueError if it does not fit the columns."""
        columns = self.mean.shape
        count = take(tensors, "running.count", np.float64, (1,)).copy()
        mean = take(tensors, "running.mean", np.float64, columns).copy()
        self.squares = take(tensors, "running.squares", np.float64, columns).copy()
        self.count, self.mean = count, mean
        _factors(self.count[0], self.mean, self.squares, self.factor)


_STATE = types.float64[::1]


@compiled(types.void(types.float64, FLOATS, FLOATS, _STATE))
def _factors(count: float, mean: Floats, squares: Floats, factor: Floats) -> None:
    for column in range(len(mean)):
        deviation = np.sqrt(squares[column] / max(count, 1.0))
        varies = deviation > CONSTANT_BELOW * abs(mean[column])
        factor[column] = 1.0 / deviation if varies else 0.0


@compiled(types.void(types.float64[:, ::1], types.int64, _STATE, _STATE, _STATE, _STATE, types.float64))
def count_in(
    shaped: Floats, rows: int, count: Floats, mean: Floats, squares: Floats, factor: Floats, clip: float
) -> None:
    """Count the first rows of shaped inputs in, at least one, and standardise them in their place as of then."""
    columns = len(mean)
    before, after = count[0], count[0] + rows
    own, centred = np.zeros(columns), np.zeros(columns)
    for row in range(rows):
        for column in range(columns):
            own[column] += shaped[row, column]
    for column in range(columns):
        own[column] /= rows
    for row in range(rows):
        for column in range(columns):
            off = shaped[row, column] - own[column]
            centred[column] += off * off
    for column in range(columns):
        gap = own[column] - mean[column]
        squares[column] += centred[column] + gap * gap * (before * rows / after)
        mean[column] += gap * (rows / after)
    count[0] = after
    _factors(after, mean, squares, factor)
    for row in range(rows):
        for column in range(columns):
            z = (shaped[row, column] - mean[column]) * factor[column]
            z = clip if z > clip else z
            shaped[row, column] = -clip if z < -clip else z
