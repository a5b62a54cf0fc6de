"""What a configuration says about a learner of River."""

from __future__ import annotations

from dataclasses import dataclass

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.river.build import Spec
from rheostat.learners.river.inputs import Categories, Inputs
from rheostat.learners.river.numbers import Numbers

BINS_MAX = 1 << 16
WEIGHT_MAX = 1e6


@dataclass(frozen=True, slots=True)
class RiverSettings:
    """Which estimator of River, and how rows are given to it.

    estimator: as `build` describes. seed: for every seed that it leaves open. signed_log, categories, categorical_bins:
    see `inputs`. weight_max: larger weights count as this.
    batch_rows: rows of one `learn_many`; 1 for `learn_one`; None for 32 where River then learns the same (naive Bayes,
    Bayesian regression), else 1. In linear models a batch is one step along the mean gradient: faster, but to learn as
    much from as many rows it needs a higher rate.
    """

    estimator: Spec
    seed: int = 1
    batch_rows: int | None = None
    signed_log: bool = True
    categories: Categories = "inputs"
    categorical_bins: int = 16
    weight_max: float = 10.0


def inputs_of(schema: FeatureSchema, settings: RiverSettings, positive: bool) -> Inputs:
    """Return how features become the inputs of an estimator; `positive`: it takes none below zero."""
    if settings.categories not in ("inputs", "values") or not 1 <= settings.categorical_bins <= BINS_MAX:
        raise ValueError('categories must be "inputs" or "values", categorical_bins in [1, 65536]')
    if not 0.0 < settings.weight_max <= WEIGHT_MAX:
        raise ValueError(f"weight_max must be above 0 and at most 1e6, got {settings.weight_max}")
    bins = settings.categorical_bins
    numbers = Numbers(bins if settings.categories == "inputs" else 0, settings.signed_log, positive)
    return Inputs(schema, settings.categories, bins, numbers)
