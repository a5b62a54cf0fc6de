"""Inputs of any size into inputs a model can take: signed logarithm, standardisation, clipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, log1p

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take

INPUT_MAX = 1e100
"""Larger inputs count as this: its square is still a number."""


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

    def apply_one(self, inputs: Sequence[float]) -> list[float]:
        """Return what `apply` gives for one row of finite numbers, to rounding."""
        if self.signed_log:
            shaped = [log1p(each) if each >= 0.0 else -log1p(-each) for each in inputs]
        else:
            shaped = [each if -INPUT_MAX <= each <= INPUT_MAX else copysign(INPUT_MAX, each) for each in inputs]
        clip, rows = self.clip, zip(shaped, self.mean.tolist(), self.factor.tolist(), strict=True)
        scaled = [(each - mean) * factor for each, mean, factor in rows]
        return [each if -clip <= each <= clip else copysign(clip, each) for each in scaled]

    def of(self, columns: slice) -> Scale:
        """Return the scale of some of the columns."""
        return Scale(self.mean[columns], self.factor[columns], self.signed_log, self.clip)

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


def shape_inputs(inputs: Floats, signed_log: bool) -> Floats:
    """Return a new array: sign(x) * log(1 + |x|) if asked for, else x bounded by `INPUT_MAX`."""
    if signed_log:
        return np.copysign(np.log1p(np.abs(inputs)), inputs)
    return np.minimum(np.maximum(inputs, -INPUT_MAX), INPUT_MAX)
