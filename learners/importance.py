"""Means of what was seen under one rule of choice, as they would be under another: importance weighting, in sums.

What was chosen with a small probability stands for the many times it was not. With v_i = weight_i / p_i, p_i being the
logged propensity, q_i in [0, high] a label or a loss:

    IPS    sum v q / n          unbiased; Horvitz and Thompson (1952)
    SNIPS  sum v q / sum v      nearly unbiased, much steadier, never leaves [0, high]; Swaminathan and Joachims (2015)

`floor` bounds v from above at weight / floor: less variance for a bias, which is the share of what is rarer than that
(Ionides 2008). All is kept in sums (`Moments`), which add up over blocks and from which a row can be taken back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rheostat.learners.contract import Floats

EFFECTIVE_ROWS_MIN = 50.0
"""An estimate that rests on fewer than so many rows says too little, whatever its interval says."""

_BISECTIONS = 60


class Interval(NamedTuple):
    """Where a mean lies, both ends included."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Return whether a value lies in it."""
        return self.low <= value <= self.high


def importance_weights(propensity: Floats, weight: Floats, floor: float) -> Floats:
    """Return v = weight / max(propensity, floor), 0 where the propensity was not logged (NaN).

    Raises ValueError for a floor outside (0, 1].
    """
    if not 0.0 < floor <= 1.0:
        raise ValueError(f"floor must be in (0, 1], got {floor}")
    logged = ~np.isnan(propensity)
    return np.where(logged, weight, 0.0) / np.where(logged, np.maximum(propensity, floor), 1.0)


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over rows with weight v and value q, from which means and their intervals follow.

    rows: those with v > 0. weight, weight_squared: sums of v and v^2. total: of v q. weighted_total: of v^2 q.
    weighted_squares: of v^2 q^2. weight_max: the largest v, which stays when its row is taken back.
    """

    rows: int = 0
    weight: float = 0.0
    weight_squared: float = 0.0
    total: float = 0.0
    weighted_total: float = 0.0
    weighted_squares: float = 0.0
    weight_max: float = 0.0

    @staticmethod
    def of(weight: Floats, value: Floats) -> Moments:
        """Return the sums of rows; weight >= 0, both of one length."""
        weighted, squared = weight * value, weight * weight
        return Moments(
            int(np.count_nonzero(weight)),
            float(weight.sum()),
            float(squared.sum()),
            float(weighted.sum()),
            float((squared * value).sum()),
            float((weighted * weighted).sum()),
            float(weight.max(initial=0.0)),
        )

    def __add__(self, other: Moments) -> Moments:
        """Return the sums of both."""
        return self._plus(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        """Return the sums without the rows of the other, which are among these."""
        return self._plus(other, -1)

    def _plus(self, other: Moments, sign: int) -> Moments:
        return Moments(
            self.rows + sign * other.rows,
            self.weight + sign * other.weight,
            self.weight_squared + sign * other.weight_squared,
            self.total + sign * other.total,
            self.weighted_total + sign * other.weighted_total,
            self.weighted_squares + sign * other.weighted_squares,
            max(self.weight_max, other.weight_max),
        )

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight would say as much: (sum v)^2 / sum v^2 (Kish 1965); 0 without rows."""
        return self.weight * self.weight / self.weight_squared if self.weight_squared > 0.0 else 0.0

    @property
    def mean(self) -> float | None:
        """The self-normalised mean, SNIPS where v are importance weights; None without rows."""
        return self.total / self.weight if self.weight > 0.0 else None

    def interval(self, level: float = 0.95, high: float = 1.0) -> Interval | None:
        """Return where the self-normalised mean lies with probability `level` at least; None below two rows.

        R is in it unless the mean of z_i = v_i (q_i - R), which is 0 for the true R, is further from 0 than
        `half_width` allows: no limit theorem and no linearisation, so it holds for few rows and for skewed weights.
        With many rows it is half as wide again as a normal one; with fewer than some hundred times weight_max over the
        mean weight, several times as wide. Rows must be independent, `high` the most that q can be, and v at most
        `weight_max`.
        """
        mean = self.mean
        if mean is None or self.rows < 2:
            return None

        def possible(candidate: float) -> bool:
            squares = self.weighted_squares - 2.0 * candidate * self.weighted_total + candidate**2 * self.weight_squared
            total = self.total - candidate * self.weight
            return abs(total) / self.rows <= half_width(self.rows, total, squares, self.weight_max * high, level)

        return Interval(_furthest(possible, mean, 0.0), _furthest(possible, mean, high))

    def ips(self, rows: int | None = None) -> float | None:
        """Return sum v q / n for n = `rows`, those with v > 0 by default; None without rows."""
        count = self.rows if rows is None else rows
        return self.total / count if count else None

    def ips_interval(self, level: float = 0.95, high: float = 1.0, rows: int | None = None) -> Interval | None:
        """Return where the mean of v q lies with probability `level` at least; `rows` as for `ips`."""
        count = self.rows if rows is None else rows
        if count < 2:
            return None
        half = half_width(count, self.total, self.weighted_squares, self.weight_max * high, level)
        mean = self.total / count
        return Interval(max(mean - half, 0.0), mean + half)


def half_width(rows: int, total: float, squares: float, span: float, level: float) -> float:
    """Return how far the mean of independent values in a range of this span may be off, with probability `level`.

    Empirical Bernstein, Maurer and Pontil (2009), theorem 4, both sides: sqrt(2 V l / n) + 7 span l / (3 (n - 1)) with
    l = ln(4 / (1 - level)) and V the sample variance, here of `rows` values with this sum and sum of squares.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be in (0, 1), got {level}")
    log = math.log(4.0 / (1.0 - level))
    variance = max(squares - total * total / rows, 0.0) / (rows - 1)
    return math.sqrt(2.0 * variance * log / rows) + 7.0 * span * log / (3.0 * (rows - 1))


def _furthest(possible: Callable[[float], bool], inside: float, end: float) -> float:
    """Return how far towards `end` values stay possible, to rounding."""
    if possible(end):
        return end
    outside = end
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2.0
        inside, outside = (middle, outside) if possible(middle) else (inside, middle)
    return outside
