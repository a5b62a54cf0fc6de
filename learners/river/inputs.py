"""Rows of a batch as River takes them, a dict for each or a frame, and how often a row of some weight is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.river.numbers import Numbers

Categories = Literal["inputs", "values"]

MISSING = "-"
"""The value of a category that is missing; all others are numbers of bins."""

_MIX_1, _MIX_2, _STEP = (np.uint64(each) for each in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


@dataclass(frozen=True, slots=True)
class Inputs:
    """How features become River's inputs, which are named as the features are.

    categories: "inputs": each of `bins` bins is an input of its own, 0 or 1, named "feature.bin"; "values": the feature
    is one input whose value is the text of the bin's number, for what knows categories (trees, one-hot encoders).
    numbers: see there; its `bins` are 0 for "values".
    """

    schema: FeatureSchema
    categories: Categories
    bins: int
    numbers: Numbers

    def names(self) -> list[str]:
        """Return the names of the inputs, in order."""
        if self.categories == "values":
            return [*self.schema.numeric, *self.schema.categorical]
        bins = [f"{name}.{number}" for name in self.schema.categorical for number in range(self.bins)]
        return [*self.schema.numeric, *bins]

    def rows(self, batch: Batch) -> list[dict[str, Any]]:
        """Return a dict of River's inputs for each row; values are Python's own."""
        names, numbers = self.names(), self.numbers.of(batch).tolist()
        if self.categories == "inputs":
            return [dict(zip(names, row, strict=True)) for row in numbers]
        values = self._values(batch).tolist()
        return [dict(zip(names, (*row, *more), strict=True)) for row, more in zip(numbers, values, strict=True)]

    def frame(self, batch: Batch) -> pd.DataFrame:
        """Return a frame of the inputs; only with categories as inputs."""
        return pd.DataFrame(self.numbers.of(batch), columns=pd.Index(self.names(), dtype=object))

    def _values(self, batch: Batch) -> NDArray[np.object_]:
        bins = (batch.categorical % np.uint64(self.bins)).astype(np.int64).astype(str).astype(object)
        bins[batch.categorical == 0] = MISSING
        return bins


def times(weight: Floats, first: int, seed: int) -> NDArray[np.int64]:
    """Return how often rows of these weights are learned: the whole part, and once more by chance for the rest.

    The chance of row number `first + i` comes from its number and the seed alone (SplitMix64), so that a replay draws
    the same, and no pattern in the order of rows can meet one in the rounding. On average a row counts its weight.
    """
    whole = np.floor(weight)
    with np.errstate(over="ignore"):
        state = (np.arange(first, first + len(weight), dtype=np.uint64) + np.uint64(1)) * _STEP + np.uint64(
            seed
        ) * _MIX_1
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
    chance = ((state ^ (state >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return (whole + (chance < weight - whole)).astype(np.int64)
