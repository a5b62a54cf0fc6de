"""Inputs of any size into inputs a model can take: signed logarithm, running standardisation, clipping.

The mean and variance are those of River's `StandardScaler`, kept here by the merge formula of Chan, Golub and LeVeque
(1979) on centred sums of squares: E[x^2] - mean^2 loses all digits when the mean is large (a timestamp), and can even
turn negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take

INPUT_MAX = 1e100
"""Larger inputs count as this: its square is still a number."""

CONSTANT_BELOW = 1e-12
"""A feature whose deviation is below this share of its mean is constant: what is left is rounding."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A frozen transformation of a row's numbers: z = clip((f(x) - mean) * factor), f the signed log or nothing."""

    mean: Floats
    factor: Floats
    signed_log: bool
    clip: float

    def apply(self, inputs: Floats) -> Floats:
        """Return the model's inputs for raw inputs (rows, columns); always finite for finite ones."""
        return self.standardise(shape_inputs(inputs, self.signed_log))

    def standardise(self, shaped: Floats) -> Floats:
        """Return the model's inputs for those that `shape_inputs` gave, in their place."""
        np.subtract(shaped, self.mean, out=shaped)
        np.multiply(shaped, self.factor, out=shaped)
        np.minimum(shaped, self.clip, out=shaped)
        return np.maximum(shaped, -self.clip, out=shaped)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the scale as named arrays, part of a model's parameters."""
        options = np.array([float(self.signed_log), self.clip])
        return {"scale.mean": self.mean.copy(), "scale.factor": self.factor.copy(), "scale.options": options}

    @staticmethod
    def from_tensors(tensors: Tensors, columns: int) -> Scale:
        """Return the scale that `tensors` described; ValueError if it does not fit the columns."""
        mean = take(tensors, "scale.mean", np.float64, (columns,)).copy()
        factor = take(tensors, "scale.factor", np.float64, (columns,)).copy()
        options = take(tensors, "scale.options", np.float64, (2,))
        return Scale(mean, factor, bool(options[0]), float(options[1]))


class RunningScale:
    """Count, mean and centred sum of squares of every column of what was learned so far."""

    def __init__(self, columns: int, signed_log: bool, clip: float) -> None:
        if not clip > 0.0:
            raise ValueError(f"clip must be above 0 standard deviations, got {clip}")
        self._signed_log = signed_log
        self._clip = clip
        self._count = 0.0
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._frozen: Scale | None = None

    def update(self, inputs: Floats) -> Floats:
        """Count raw inputs (rows, columns) in, at least one row, and return them as the model's inputs as of then."""
        shaped = shape_inputs(inputs, self._signed_log)
        rows = float(shaped.shape[0])
        total = self._count + rows
        mean = shaped.mean(axis=0)
        centred = shaped - mean
        gap = mean - self._mean
        self._squares += np.einsum("ij,ij->j", centred, centred) + gap * gap * (self._count * rows / total)
        self._mean += gap * (rows / total)
        self._count = total
        self._frozen = None
        return self.frozen().standardise(shaped)

    def frozen(self) -> Scale:
        """Return the transformation as of now."""
        if self._frozen is None:
            self._frozen = self._freeze()
        return self._frozen

    def _freeze(self) -> Scale:
        deviation = np.sqrt(self._squares / max(self._count, 1.0))
        varies = deviation > CONSTANT_BELOW * np.abs(self._mean)
        factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        return Scale(self._mean.copy(), factor, self._signed_log, self._clip)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the running state, as part of a snapshot."""
        return {
            "running.count": np.array([self._count]),
            "running.mean": self._mean.copy(),
            "running.squares": self._squares.copy(),
        }

    def restore(self, tensors: Tensors) -> None:
        """Take over a running state; ValueError if it does not fit the columns."""
        columns = self._mean.shape
        count = float(take(tensors, "running.count", np.float64, (1,))[0])
        mean = take(tensors, "running.mean", np.float64, columns).copy()
        self._squares = take(tensors, "running.squares", np.float64, columns).copy()
        self._count, self._mean, self._frozen = count, mean, None


def shape_inputs(inputs: Floats, signed_log: bool) -> Floats:
    """Return a new array: sign(x) * log(1 + |x|) if asked for, else x bounded by `INPUT_MAX`."""
    if signed_log:
        return np.copysign(np.log1p(np.abs(inputs)), inputs)
    return np.minimum(np.maximum(inputs, -INPUT_MAX), INPUT_MAX)
