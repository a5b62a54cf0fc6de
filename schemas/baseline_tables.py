"""The baseline of a feature as a dictionary says it: read strictly, and held against what the feature declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rheostat.schemas.feature_sets import Feature
from rheostat.schemas.feature_sketches import FREQUENT_MAX, QUANTILE_LEVELS, ROWS_MIN, CategorySketch, NumberSketch
from rheostat.schemas.strict_table import Report, StrictTable

_COUNT_MAX = 10**15


def read_baseline(given: Mapping[str, Any], feature: Feature, report: Report) -> NumberSketch | CategorySketch:
    """Return the sketch in a table `[feature.baseline]`; what is wrong with it is reported as `baseline.ENTRY`."""
    table = StrictTable(given, lambda entry, reason: report(f"baseline.{entry}", reason))
    found = _categories(table, feature) if feature.type == "categorical" else _numbers(table, feature)
    table.close()
    return found


def _numbers(table: StrictTable, feature: Feature) -> NumberSketch:
    low, high = feature.low or 0.0, feature.high or 0.0
    levels = ", ".join(f"{level:g}" for level in QUANTILE_LEVELS)
    quantiles = table.numbers("quantiles", len(QUANTILE_LEVELS), f"a list of the quantiles at {levels}, never falling")
    if not all(low <= each <= high for each in quantiles):
        table.report("quantiles", f"are not all within the range, {feature.allowed}")
    return NumberSketch(
        count=table.integer("count", ROWS_MIN, _COUNT_MAX),
        missing=table.number("missing", 0.0, 1.0),
        mean=table.number("mean", low, high),
        deviation=table.number("deviation", 0.0, math.inf),
        quantiles=quantiles,
    )


def _categories(table: StrictTable, feature: Feature) -> CategorySketch:
    frequent = table.shares("frequent", FREQUENT_MAX)
    if unknown := [each for each in frequent if feature.categories and each not in feature.categories]:
        table.report("frequent", f"{unknown[0]!r} is not one of the categories")
    most = len(feature.categories) or feature.categories_max or _COUNT_MAX
    return CategorySketch(
        count=table.integer("count", ROWS_MIN, _COUNT_MAX),
        missing=table.number("missing", 0.0, 1.0),
        distinct=table.integer("distinct", len(frequent), most),
        frequent=frequent,
    )
