"""Sequential evidence that a bounded gain has a mean above 0, by betting on it; with a stated rate of false alarms.

After Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2023), and Shin, Ramdas and
Rinaldo, "E-detectors" (2024). Under the hypothesis "every gain has mean at most 0, given the past", whoever bets the
share lam of a fortune on each gain x in [-1, 1] multiplies it by 1 + lam x, and does not grow richer on average. So

    e = product of 1 + lam x over a block of gains that count n together,    0 <= lam < 1
    e-SR      R = (R + n) * e      evidence is reached at R >= events

Each gain counts 1, or less where it weighs less. R less what the gains seen count is a supermartingale: they are
expected to count at least `events` until the evidence is reached by chance, whatever the sizes of the blocks (as long
as none depends on the gains in it), whatever the gains are distributed like, and however often one looks. Several
shares are mixed with equal weights; a wrong one costs delay, never validity.

What is compared here are two losses of the same example, so what makes examples hard or easy cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

from rheostat.learners.compiled import FLOATS, compiled
from rheostat.learners.contract import Floats

SHARES = (0.03, 0.1, 0.3, 0.8)
"""Small ones are quick where gains are small and scattered, large ones where nearly all are positive."""


@dataclass(frozen=True, slots=True)
class Bets:
    """What the gains so far say: the natural logarithm of R for each share, and what the gains counted."""

    log_sr: tuple[float, ...] = (-math.inf,) * len(SHARES)
    count: float = 0.0

    @property
    def nats(self) -> float:
        """The logarithm of the mixed R, to be compared with log(events); minus infinity before the first gain."""
        top = max(self.log_sr)
        if math.isinf(top):
            return top
        return top + math.log(math.fsum(math.exp(value - top) for value in self.log_sr) / len(self.log_sr))


def bet(bets: Bets, gains: Floats, count: float | None = None, shares: Sequence[float] = SHARES) -> Bets:
    """Return the evidence after a block of gains in [-1, 1]. ValueError for others.

    count: what they count together, by default one each; where that is nothing, nothing changes.
    """
    if len(bets.log_sr) != len(shares):
        raise ValueError(f"evidence for {len(bets.log_sr)} shares, there are {len(shares)}")
    count = float(len(gains)) if count is None else count
    if not count:
        return bets
    # Written so that NaN fails too.
    if not (gains.min() >= -1.0 and gains.max() <= 1.0):
        raise ValueError("gains must be in [-1, 1]")
    log_e = [log_wealth(share, gains) for share in shares]
    grown = tuple(_log_sum(sr, math.log(count)) + each for sr, each in zip(bets.log_sr, log_e, strict=True))
    return Bets(grown, bets.count + count)


def loss_gains(loss: Floats, other: Floats, weight: Floats, tolerance: float) -> Floats:
    """Return by how much more than `tolerance` each loss is above the other of its example, scaled to [-1, 1].

    Losses are in [0, 1], tolerance in [0, 1). An example of weight below 1 counts that much, above 1 as one.
    """
    gains: Floats = np.minimum(weight, 1.0) * ((loss - other) - tolerance) / (1.0 + tolerance)
    return gains


@compiled(types.float64(types.float64, FLOATS))
def log_wealth(share: float, gains: Any) -> float:
    """Return the sum of log(1 + share * gain); a product of 64 factors is far from the limits of numbers."""
    total = 0.0
    for start in range(0, len(gains), 64):
        wealth = 1.0
        for at in range(start, min(start + 64, len(gains))):
            wealth *= 1.0 + share * gains[at]
        total += math.log(wealth)
    return total


def _log_sum(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))
