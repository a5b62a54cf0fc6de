"""Scores in fixed bins of logit, so that what was counted in them adds up over blocks: ROC AUC and calibration of sums.

Bin b holds the scores with logit in [(b - 112) / 8, (b - 111) / 8). Equal width in logit keeps apart what is rare: a
score of 0.001 lies 44 bins from one of 0.2, and either end of [0, 1] has as many bins as the middle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.calibration import logit
from rheostat.learners.contract import Floats

PER_NAT = 8
SCORE_BINS = 2 * 14 * PER_NAT
"""Logits of scores in [1e-6, 1 - 1e-6] are within 14 of 0."""


def score_bins(score: Floats) -> NDArray[np.int64]:
    """Return the bin of each score in [0, 1], of `SCORE_BINS`."""
    return np.floor(logit(score) * PER_NAT).astype(np.int64) + SCORE_BINS // 2


class BinnedAUC(NamedTuple):
    """ROC AUC from bins, and the most that it may be off: half the share of the pairs that share a bin."""

    value: float
    error_max: float


def binned_auc(weight: Floats, label: Floats) -> BinnedAUC | None:
    """Return ROC AUC from the sums of weights and of weighted labels in bins of rising score.

    A pair in one bin counts half, as if their scores were equal. A label between 0 and 1 counts as both: positive by
    its value, negative by the rest. None where one of the classes is absent.
    """
    up, down = label, weight - label
    pairs = float(up.sum() * down.sum())
    if not pairs > 0.0:
        return None
    below = np.cumsum(down) - down
    value = float(up @ (below + down / 2.0)) / pairs
    return BinnedAUC(min(max(value, 0.0), 1.0), float(np.abs(up) @ np.abs(down)) / (2.0 * pairs))
