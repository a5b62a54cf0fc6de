"""Baseline sketches: a feature's values in a few figures, small enough for a file that people review.

A sketch must not tell the value of a single person: its quantiles end at 5 % and 95 % instead of the extremes, it is
made of at least `ROWS_MIN` values, and it names only categories of at least `ROWS_PER_CATEGORY_MIN` rows.
`rheostat.learners.sketches` makes sketches of values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
FREQUENT_MAX = 10
ROWS_MIN = 100
ROWS_PER_CATEGORY_MIN = 10
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class NumberSketch:
    """count: rows, with or without a value. missing: share of rows without one. The rest is about those with one:

    mean, deviation (standard deviation of the values, over n), quantiles at `QUANTILE_LEVELS`.
    """

    count: int
    missing: float
    mean: float
    deviation: float
    quantiles: tuple[float, ...]

    def as_toml(self) -> str:
        """Return it as it stands in a dictionary, under `[feature.baseline]`."""
        quantiles = ", ".join(_number(each) for each in self.quantiles)
        return (
            f"count = {self.count}\nmissing = {_number(self.missing)}\nmean = {_number(self.mean)}\n"
            f"deviation = {_number(self.deviation)}\nquantiles = [{quantiles}]\n"
        )


@dataclass(frozen=True, slots=True)
class CategorySketch:
    """count: rows, with or without a value. missing: share of rows without one. The rest is about those with one:

    distinct: how many different values. frequent: the shares of the most frequent ones, at most `FREQUENT_MAX`.
    """

    count: int
    missing: float
    distinct: int
    frequent: Mapping[str, float]

    def as_toml(self) -> str:
        """Return it as it stands in a dictionary, under `[feature.baseline]`."""
        # JSON's strings are TOML's, but for the DEL that TOML wants escaped.
        frequent = ", ".join(f"{_text(name)} = {_number(share)}" for name, share in self.frequent.items())
        return (
            f"count = {self.count}\nmissing = {_number(self.missing)}\n"
            f"distinct = {self.distinct}\nfrequent = {{ {frequent} }}\n"
        )


def _number(value: float) -> str:
    text = f"{value:.{_DIGITS}g}"
    return text if any(sign in text for sign in ".en") else f"{text}.0"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
