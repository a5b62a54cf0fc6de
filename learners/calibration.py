"""Whether scores are probabilities: calibration error.

Only matured labels should come here: while positives are still on their way, everything looks overconfident.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rheostat.learners.contract import Floats

_CLIP = 1e-6


class Bins(NamedTuple):
    """Scored examples in bins of rising score; each sums up the weights, the weighted scores and labels in it.

    variances: what the squared error of a bin's label sum is on average where every score is the true probability.
    """

    weights: Floats
    scores: Floats
    labels: Floats
    variances: Floats


def equal_mass_bins(score: Floats, label: Floats, weight: Floats, bins: int = 15) -> Bins:
    """Cut scored examples into at most `bins` bins of about the same weight; equal scores are never parted.

    score and label in [0, 1], weight >= 0; all of one length. Examples without weight are not seen.
    """
    seen = weight > 0.0
    values, places = np.unique(score[seen], return_inverse=True)
    mass, label_mass, squared = (
        np.bincount(places, each, len(values)).astype(np.float64)
        for each in (weight[seen], (weight * label)[seen], weight[seen] ** 2)
    )
    return merged(Bins(mass, mass * values, label_mass, squared * values * (1.0 - values)), bins)


def merged(fine: Bins, bins: int = 15) -> Bins:
    """Put neighbouring bins, of rising score, together into at most `bins` of about the same weight."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    filled = Bins(*(each[fine.weights > 0.0] for each in fine))
    if not len(filled.weights):
        return filled
    middles = np.cumsum(filled.weights) - filled.weights / 2.0
    _, starts = np.unique((middles * (bins / filled.weights.sum())).astype(np.int64), return_index=True)
    return Bins(*(np.add.reduceat(each, starts) for each in filled))


def calibration_error(bins: Bins) -> float:
    """Return the expected calibration error: the mean distance of mean label and mean score of a bin, by weight.

    Naeini, Cooper and Hauskrecht (2015), with bins of equal mass after Nixon et al. (2019). 0 without examples.
    """
    total = float(bins.weights.sum())
    return float(np.abs(bins.labels - bins.scores).sum() / total) if total else 0.0


def error_by_chance(bins: Bins) -> float:
    """Return about how large the error would be if every score were the true probability of a label of 0 or 1.

    The mean distance of a normal variable is sqrt(2 / pi) deviations. An error is no news unless it is well above this.
    """
    total = float(bins.weights.sum())
    return float(math.sqrt(2.0 / math.pi) * np.sqrt(bins.variances).sum() / total) if total else 0.0


def logit(score: Floats) -> Floats:
    """Return ln(p / (1 - p)) of scores, which are taken to be in [1e-6, 1 - 1e-6]."""
    clipped = np.clip(score, _CLIP, 1.0 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)
