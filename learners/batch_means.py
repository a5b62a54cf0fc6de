"""Confidence intervals for means over a stream whose neighbouring values are not independent: batch means.

The stream is cut into batches of consecutive values, so long that the means of batches are nearly independent though
the values are not; their spread gives the interval (Schmeiser, "Batch size effects in the analysis of simulation
output", Operations Research 30, 1982: with 10 to 30 batches little is lost). How long is found as Fishman does
("Grouping observations in digital simulation", Management Science 24, 1978): batches are merged in pairs while
neighbouring ones are still correlated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats

BATCHES_MOST, BATCHES_LEAST = 40, 10
_CORRELATED = 1.645
"""Deviations of the lag-one correlation from 0 at which independent batch means lie with a chance of 5 %."""
_BISECTIONS = 100


class Interval(NamedTuple):
    """A mean with bounds that hold it with the confidence asked for; `batches` are those it was judged by."""

    mean: float
    lower: float
    upper: float
    batches: int


def batch_means(values: Floats, weights: Floats, confidence: float) -> Interval:
    """Return the weighted mean of values in the order of time, with its bounds.

    Without weight or with fewer than 10 values nothing is known, and the bounds are infinite.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")
    total = float(weights.sum())
    mean = float(weights @ values) / total if total else 0.0
    if not total or len(values) < BATCHES_LEAST:
        return Interval(mean, -math.inf, math.inf, 0)
    # The mean is a ratio of sums; to first order it errs by the sum of weight x (value - mean) over the total weight.
    errors = weights * (values - mean)
    count = BATCHES_MOST
    while count > BATCHES_LEAST and (count > len(values) or _correlated(_sums(errors, count))):
        count //= 2
    sums = _sums(errors, count)
    deviation = math.sqrt(float(sums @ sums) * count / (count - 1)) / total
    half = student_quantile((1.0 + confidence) / 2.0, count - 1) * deviation
    return Interval(mean, mean - half, mean + half, count)


def auc_influence(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats | None:
    """Return what each row contributes to the weighted ROC AUC, such that their weighted mean is the AUC.

    Its first-order (Hoeffding) part: AUC + (V - AUC) / (share of the row's class), where V is the weighted share of the
    other class that the row is ordered rightly with, ties counting half; these are the structural components of DeLong,
    DeLong and Clarke-Pearson (1988). None where one of the classes has no weight.
    """
    up_weight, down_weight = np.where(positive, weight, 0.0), np.where(positive, 0.0, weight)
    up_total, down_total = float(up_weight.sum()), float(down_weight.sum())
    if not up_total or not down_total:
        return None
    values, places = np.unique(score, return_inverse=True)
    up, down = (np.bincount(places, each, len(values)) for each in (up_weight, down_weight))
    below = (np.cumsum(down) - down / 2.0) / down_total
    above = 1.0 - (np.cumsum(up) - up / 2.0) / up_total
    auc = float(up @ below) / up_total
    total = up_total + down_total
    ordered, share = np.where(positive, below[places], above[places]), np.where(positive, up_total, down_total) / total
    return np.asarray(auc + (ordered - auc) / share, np.float64)


def student_quantile(chance: float, freedom: int) -> float:
    """Return the value that Student's t with `freedom` degrees is below with this chance (0.5 to 1).

    By bisection on the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    if not (0.5 <= chance < 1.0 and freedom >= 1):
        raise ValueError(f"no quantile for a chance of {chance} and {freedom} degrees of freedom")
    low, high = 0.0, math.pi / 2.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _between(middle, freedom) < 2.0 * chance - 1.0 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _between(angle: float, freedom: int) -> float:
    """Return the chance that t lies within tan(angle) sqrt(freedom) of 0."""
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if freedom % 2 == 0:
        for step in range(freedom // 2):
            total += term
            term *= (2 * step + 1) / (2 * step + 2) * cosine**2
        return math.sin(angle) * total
    term = cosine
    for step in range(freedom // 2):
        total += term
        term *= (2 * step + 2) / (2 * step + 3) * cosine**2
    return 2.0 / math.pi * (angle + math.sin(angle) * total)


def _sums(errors: Floats, count: int) -> Floats:
    starts = np.arange(count) * len(errors) // count
    return np.add.reduceat(errors, starts)


def _correlated(sums: Floats) -> bool:
    total = float(sums @ sums)
    return total > 0.0 and float(sums[1:] @ sums[:-1]) / total > _CORRELATED / math.sqrt(len(sums))
