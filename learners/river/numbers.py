"""A batch as the numbers that an estimator of River learns from, in numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.logistic import one_hot
from rheostat.learners.scaling import shape_inputs

INPUT_MAX = 1e15
"""Larger inputs count as this: products of several of them are still numbers."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How features become numbers: numeric ones first, then, if `bins` is not 0, 0/1 inputs of each categorical one.

    signed_log: numbers are taken as sign(x) * log(1 + |x|). positive: numbers below zero count as zero.
    """

    bins: int
    signed_log: bool
    positive: bool

    def of(self, batch: Batch) -> Floats:
        """Return the inputs, float64 (rows, inputs), a new array."""
        numbers = shape_inputs(batch.numeric, self.signed_log)
        np.minimum(np.maximum(numbers, 0.0 if self.positive else -INPUT_MAX, out=numbers), INPUT_MAX, out=numbers)
        if not self.bins:
            return numbers
        return one_hot(Batch(batch.schema_id, numbers, batch.categorical, batch.label, batch.weight), self.bins)
