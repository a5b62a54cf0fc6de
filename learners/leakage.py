"""Features that predict too well: a leaked label shows as a feature that nearly decides the label alone.

Every feature is judged by its ROC AUC as the only score. A number is its own score, in the direction that separates
better. A category scores with the weighted share of positives among the earlier half of the rows that have it, and is
judged on the later half: judged on the rows it was counted on, an id that never repeats would look perfect.

The lower bound needs no assumption on how values are distributed, and holds for perfect separation, too, where bounds
from a variance (DeLong's) have no width. With positive and negative weights w and v, put
k = floor(min(sum w / max w, sum v / max v)); for equal weights, the size of the smaller class. The weighted AUC is a
mixture of means over k pairs in which no row occurs twice: the matrix k w v' / (sum w sum v) has the sum k, rows and
columns sum to at most 1, so it is a mixture of matchings of k pairs (Birkhoff; Mendelsohn and Dulmage for such parts of
permutations). So, as in Hoeffding (1963), "Probability inequalities for sums of bounded random variables", section 5,
Chernoff's bound for the mean of k independent pairs holds for it. Where the true AUC is at most t,

    P(AUC >= a) <= exp(-k KL(a, t))  for a > t, with KL that of two coins,

provided rows are independent and weights are not made from the feature.

What a single AUC does not see: a number that leaks without order (both ends positive), and a leak over two features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import check_batch
from rheostat.learners.prequential import weighted_auc

THRESHOLD = 0.95
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class FeaturePower:
    """How well one feature alone tells positives from negatives.

    auc: of the batch, at least 0.5 for numbers. lower: the true one is above it, unless the error happened that
    `single_feature_power` was allowed. pairs: independent pairs behind the bound.
    """

    feature: str
    auc: float
    lower: float
    pairs: int


def suspicious_features(
    schema: FeatureSchema, batch: Batch, *, threshold: float = THRESHOLD, error: float = 0.01
) -> list[FeaturePower]:
    """Return the features whose AUC alone is surely above the threshold, the strongest first.

    With a chance of at most `error` any feature is named that is not above the threshold.
    """
    return [each for each in single_feature_power(schema, batch, error=error) if each.lower > threshold]


def single_feature_power(schema: FeatureSchema, batch: Batch, *, error: float = 0.01) -> list[FeaturePower]:
    """Return the power of every feature that can be judged, the highest lower bound first.

    A label of at least 0.5 is a positive; rows of weight 0 count for nothing. A feature cannot be judged where one of
    the classes is absent (for categories, from the later half). All bounds hold at once, but for a chance of `error`.
    """
    check_batch(schema, batch)
    if not 0.0 < error < 1.0:
        raise ValueError(f"error: {error} is not between 0 and 1")
    seen = batch.weight > 0.0
    positive, weight = batch.label[seen] >= 0.5, batch.weight[seen]
    # Every number is tried in two directions, and half of the error is theirs.
    each = error / (2.0 * max(len(schema.numeric) + len(schema.categorical), 1))
    found = []
    for name, numbers in zip(schema.numeric, batch.numeric[seen].T, strict=True):
        found.append(_power(name, numbers, positive, weight, each, either_way=True))
    later = len(weight) // 2
    for name, hashes in zip(schema.categorical, batch.categorical[seen].T, strict=True):
        score = _shares(hashes[:later], positive[:later], weight[:later], hashes[later:])
        found.append(_power(name, score, positive[later:], weight[later:], each, either_way=False))
    judged = [power for power in found if power is not None]
    return sorted(judged, key=lambda power: (-power.lower, power.feature))


def independent_pairs(positive: NDArray[np.bool_], weight: Floats) -> int:
    """Return k, see above: how many independent pairs the weighted AUC is worth; 0 without both classes."""
    sides = weight[positive], weight[~positive]
    if any(not side.any() for side in sides):
        return 0
    # The tiny surplus makes up for the rounding of the sum, so that n equal weights are worth n.
    return math.floor(min(float(side.sum() / side.max()) for side in sides) * (1.0 + 1e-12))


def lower_bound(auc: float, pairs: int, error: float) -> float:
    """Return t such that, were the true AUC at most t, one of at least `auc` would have a chance of at most `error`."""
    allowed = math.log(1.0 / error) / max(pairs, 1)
    low, high = 0.0, auc
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _divergence(auc, middle) <= allowed else (middle, high)
    return low


def _power(
    name: str, score: Floats, positive: NDArray[np.bool_], weight: Floats, error: float, *, either_way: bool
) -> FeaturePower | None:
    auc = weighted_auc(score, positive, weight)
    if auc is None:
        return None
    auc = max(auc, 1.0 - auc) if either_way else auc
    pairs = independent_pairs(positive, weight)
    return FeaturePower(name, auc, lower_bound(auc, pairs, error), pairs)


def _shares(
    known: NDArray[np.uint64], positive: NDArray[np.bool_], weight: Floats, asked: NDArray[np.uint64]
) -> Floats:
    """Return the share of positives among known rows by category, drawn to that of all by one row of mean weight."""
    if not len(known):
        return np.zeros(len(asked))
    prior, unit = np.average(positive, weights=weight), weight.mean()
    values, places = np.unique(known, return_inverse=True)
    total = np.bincount(places, weight, len(values))
    share = (np.bincount(places, weight * positive, len(values)) + prior * unit) / (total + unit)
    found = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    return np.where(values[found] == asked, share[found], prior)


def _divergence(a: float, t: float) -> float:
    """Return the Kullback-Leibler divergence of a coin of chance a from one of chance t."""
    return sum(p * math.log(p / q) if q else math.inf for p, q in ((a, t), (1.0 - a, 1.0 - t)) if p)
