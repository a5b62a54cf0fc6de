"""Baseline sketches of values, and how far other values are from what a dictionary says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rheostat.learners.contract import Floats
from rheostat.schemas.feature_sets import Feature
from rheostat.schemas.feature_sketches import (
    FREQUENT_MAX,
    QUANTILE_LEVELS,
    ROWS_MIN,
    ROWS_PER_CATEGORY_MIN,
    CategorySketch,
    NumberSketch,
)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far values are from a feature's entry. Shares are of all values, or, for `missing`, of all rows.

    outside: share of values out of the range, out of the list of categories, or beyond the `categories_max` most
    frequent ones. Against the baseline, None without one:
    missing: by how much the share of rows without a value is higher (lower, if negative). shift: for numbers, the
    difference of the means in deviations of the baseline (infinite where that is 0 and the means differ); for
    categories, the total variation distance, 0 to 1, of the shares of the frequent ones and of all others together.
    """

    outside: float
    missing: float | None = None
    shift: float | None = None


def sketch_numbers(values: Floats) -> NumberSketch:
    """Return the sketch of numbers (rows,); NaN is a missing value. Raises ValueError below `ROWS_MIN` values."""
    present = _present(values)
    _enough(len(present))
    quantiles = tuple(float(each) for each in np.quantile(present, QUANTILE_LEVELS))
    return NumberSketch(
        count=len(values),
        missing=1.0 - len(present) / len(values),
        mean=float(present.mean()),
        deviation=float(present.std()),
        quantiles=quantiles,
    )


def sketch_categories(values: Sequence[str | None]) -> CategorySketch:
    """Return the sketch of texts; None and empty text are missing. Raises ValueError below `ROWS_MIN` values."""
    counts = Counter(value for value in values if value)
    present = counts.total()
    _enough(present)
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:FREQUENT_MAX]
    return CategorySketch(
        count=len(values),
        missing=1.0 - present / len(values),
        distinct=len(counts),
        frequent={name: count / present for name, count in ranked if count >= ROWS_PER_CATEGORY_MIN},
    )


def number_distance(feature: Feature, values: Floats) -> Distance:
    """Return how far numbers (rows,) are from the entry of a numeric or boolean feature; NaN is a missing value."""
    present = _present(values)
    if feature.type == "boolean":
        fits = (present == 0.0) | (present == 1.0)
    else:
        fits = (present >= (feature.low or 0.0)) & (present <= (feature.high or 0.0))
    outside = _share(len(present) - int(fits.sum()), len(present))
    if not isinstance(feature.baseline, NumberSketch):
        return Distance(outside)
    missing = _share(len(values) - len(present), len(values)) - feature.baseline.missing
    if not len(present):
        return Distance(outside, missing)
    difference = float(present.mean()) - feature.baseline.mean
    if feature.baseline.deviation:
        return Distance(outside, missing, difference / feature.baseline.deviation)
    return Distance(outside, missing, math.copysign(math.inf, difference) if difference else 0.0)


def category_distance(feature: Feature, values: Sequence[str | None]) -> Distance:
    """Return how far texts are from the entry of a categorical feature; None and empty text are missing values."""
    counts = Counter(value for value in values if value)
    present = counts.total()
    known = feature.categories or [name for name, _ in counts.most_common(feature.categories_max)]
    outside = _share(present - sum(counts[name] for name in known), present)
    if not isinstance(feature.baseline, CategorySketch):
        return Distance(outside)
    missing = _share(len(values) - present, len(values)) - feature.baseline.missing
    if not present:
        return Distance(outside, missing)
    usual = feature.baseline.frequent
    gaps = [counts[name] / present - share for name, share in usual.items()]
    # What all others gained is what the frequent ones lost.
    return Distance(outside, missing, (sum(map(abs, gaps)) + abs(sum(gaps))) / 2.0)


def _present(values: Floats) -> Floats:
    if np.isinf(values).any():
        raise ValueError("values must be finite, or NaN where missing")
    return values[~np.isnan(values)]


def _enough(present: int) -> None:
    if present < ROWS_MIN:
        raise ValueError(f"{present} values, a baseline needs at least {ROWS_MIN}")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
