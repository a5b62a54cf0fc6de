"""Thompson sampling as probabilities: how likely each action is the best, under independent normal beliefs.

Sampling a reward for each action and taking the largest chooses action a with probability (Thompson 1933)

    P(a) = integral of density_a(x) * product over b != a of F_b(x) dx

which is computed here instead of sampled: the choice is then drawn from these very numbers, so that the propensity
that is logged is exact, whatever the error of the integral. The integral is a sum over cells whose ends are quantiles
of every action, wide beliefs and narrow ones alike: increments of F_a are exact, the product is averaged over a cell.
Against exact values it is off by less than 0.002 (tests).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.bandits.normal import normal_cdf
from rheostat.learners.contract import Floats

_POINTS = 256
_POINTS_MIN = 11
"""Ends of cells, in all and for each action; an action more costs as many."""

_REACH = 4.5
"""How many deviations the cells reach to each side; beyond lies 7e-6 of the probability, which is spread again."""

_CELLS_MAX = 1 << 18
"""How many (row, end, action) are worked on at once: about 20 MB."""


def best_probability(mean: Floats, deviation: Floats, eligible: NDArray[np.bool_]) -> Floats:
    """Return the probability (rows, K) of each action to be the best of the eligible, 0 for the others.

    mean, deviation > 0: of the beliefs, (rows, K). At least one action of each row must be eligible.
    """
    rows, actions = mean.shape
    points = max(_POINTS_MIN, -(-_POINTS // actions))
    step = max(1, _CELLS_MAX // (points * actions * actions))
    found = np.empty((rows, actions))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        found[part] = _best(mean[part], deviation[part], eligible[part], points)
    return found


def _best(mean: Floats, deviation: Floats, eligible: NDArray[np.bool_], points: int) -> Floats:
    ends = _ends(mean, deviation, eligible, points)
    standard = (ends[:, :, np.newaxis] - mean[:, np.newaxis, :]) / deviation[:, np.newaxis, :]
    below = np.where(eligible[:, np.newaxis, :], normal_cdf(standard), 1.0)
    others = _product_of_others(below)
    averages = (others[:, 1:] + others[:, :-1]) / 2.0
    best = np.einsum("rga,rga->ra", np.diff(below, axis=1), averages)
    share: Floats = best / best.sum(axis=1, keepdims=True)
    return share


def _product_of_others(values: Floats) -> Floats:
    """Return for each entry of the last axis the product of those before and after it, without dividing."""
    others = np.ones_like(values)
    np.cumprod(values[..., :-1], axis=-1, out=others[..., 1:])
    others[..., :-1] *= np.cumprod(values[..., :0:-1], axis=-1)[..., ::-1]
    return others


def _ends(mean: Floats, deviation: Floats, eligible: NDArray[np.bool_], points: int) -> Floats:
    """Return the ends of the cells of each row, rising: `points` quantiles of every eligible action."""
    quantiles = np.linspace(-_REACH, _REACH, points)
    some = np.argmax(eligible, axis=1)[:, np.newaxis]
    mean = np.where(eligible, mean, np.take_along_axis(mean, some, axis=1))
    deviation = np.where(eligible, deviation, np.take_along_axis(deviation, some, axis=1))
    ends = mean[:, :, np.newaxis] + deviation[:, :, np.newaxis] * quantiles
    return np.sort(ends.reshape(len(mean), -1), axis=1)
