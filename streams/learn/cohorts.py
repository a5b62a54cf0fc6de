"""Sums over tested examples by segment and hour of prediction: what estimates of a model's quality are added up from.

An hour of predictions is a cohort: while labels are on their way, quick ones are over-represented, and once the join's
window has closed on it every prediction has its label, by default at least. A revision takes what the example said
before out of its cohort, which is the same one, and puts in what it says now: sums over labels and over the served
score, which never changes, are then exactly those of the final labels. The score tested is the present one both times,
so where a version has moved in between, its losses are off by the difference of the two losses' change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import types
from numpy.typing import NDArray

from rheostat.learners.contract import Floats
from rheostat.learners.prequential import LOG_LOSS_CLIP
from rheostat.learners.score_bins import PER_NAT, SCORE_BINS
from rheostat.streams.compiled import BOOLS, FLOATS, INTS, LONGS, compiled

COHORT_MS = 3_600_000

MEANS = (
    "label",
    "brier",
    "log_loss",
    "calibrated_brier",
    "calibrated_log_loss",
    "served_brier",
    "served_log_loss",
    "ips_label",
    "ips_brier",
    "ips_log_loss",
)
"""What there are weighted sums of. served: of the score that went out, where this model gave it. ips: weighted by
weight / propensity besides, where one was logged."""

SUMS = ("rows", "weight", "weight_squared", "total", "weighted_total", "weighted_squares", "weight_max")
"""Those of `rheostat.learners.importance.Moments`."""

BIN_SUMS = ("weight", "weight_squared", "score", "label", "calibrated")
"""By bin of the score (rheostat.learners.score_bins): of weights, their squares, weighted scores, labels, and scores
after calibration."""

_COUNTS = types.Array(types.int64, 2, "C")
_MEANS, _BINS = types.Array(types.float64, 3, "C"), types.Array(types.float64, 3, "C")
_SERVED, _WEIGHED = 5, 7


@dataclass(frozen=True, slots=True)
class Line:
    """How logits are stretched to be calibrated."""

    slope: float = 1.0
    offset: float = 0.0


class _Scored(NamedTuple):
    """What losses are made of, of each row: log likelihoods of a positive and of a negative, for three scores.

    better: the tested score, calibrated. bins: that of the tested score. All at once, as arrays: one row after the
    other takes ten times as long.
    """

    tested: Floats
    up: Floats
    down: Floats
    better: Floats
    better_up: Floats
    better_down: Floats
    served: Floats
    served_up: Floats
    served_down: Floats
    bins: NDArray[np.int64]

    @staticmethod
    def of(score: Floats, served: Floats, line: Line) -> _Scored:
        """Return those of tested scores, and of the scores that went out."""
        p, q = _within(score), _within(served)
        up, down = np.log(p), np.log1p(-p)
        logit = line.slope * (up - down) + line.offset
        tail = np.exp(-np.abs(logit))
        better_up = np.minimum(logit, 0.0) - np.log1p(tail)
        return _Scored(
            p,
            up,
            down,
            np.where(logit >= 0.0, 1.0, tail) / (1.0 + tail),
            better_up,
            better_up - logit,
            q,
            np.log(q),
            np.log1p(-q),
            np.floor((up - down) * PER_NAT).astype(np.int64) + SCORE_BINS // 2,
        )


@dataclass(frozen=True, slots=True)
class Segments:
    """The segment of each example as a place in `names`."""

    codes: NDArray[np.int64]
    names: list[str]

    @staticmethod
    def of(records: pa.RecordBatch) -> Segments:
        """Return those of examples; none is the empty text."""
        column = records.column("segment")
        found = (column.fill_null("") if column.null_count else column).dictionary_encode()
        return Segments(found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist())


def cohorts(
    records: pa.RecordBatch, segments: Segments, score: Floats, model: str, line: Line, propensity_floor: float
) -> list[dict[str, Any]]:
    """Return the `cohorts` of an evaluation, by segment and hour; `records` are examples with these tested scores."""
    hours = _array(records.column("predicted_at").view(pa.int64())) // COHORT_MS
    first = int(hours.min())
    span = int(hours.max()) - first + 1
    keys, codes = np.unique(segments.codes * span + (hours - first), return_inverse=True)
    means, bins = np.zeros((len(keys), len(MEANS), len(SUMS))), np.zeros((len(keys), len(BIN_SUMS), SCORE_BINS))
    counts = np.zeros((len(keys), 2), np.int64)
    propensity = records.column("propensity")
    _add_up(
        codes,
        score,
        *_Scored.of(score, _array(records.column("score")), line),
        _array(records.column("label")),
        _array(records.column("weight")),
        _array(records.column("was_label")),
        _array(records.column("was_weight")),
        pc.equal(records.column("model"), model).to_numpy(zero_copy_only=False),
        _array(propensity.fill_null(np.nan) if propensity.null_count else propensity),
        _array(records.column("revision")),
        propensity_floor,
        counts,
        means,
        bins,
    )
    return [
        {
            "segment": segments.names[key // span],
            "predicted_from": (first + key % span) * COHORT_MS,
            "examples": examples,
            "revised": revised,
            "means": means[at].ravel().tolist(),
            "bins": pack_bins(bins[at]),
        }
        for at, (key, (examples, revised)) in enumerate(zip(keys.tolist(), counts.tolist(), strict=True))
    ]


def pack_bins(sums: NDArray[np.float64]) -> list[float]:
    """Return sums (len(BIN_SUMS), SCORE_BINS) as the `bins` of a cohort."""
    filled = np.flatnonzero(sums.any(axis=0))
    packed: list[float] = np.concatenate([filled, sums[:, filled].ravel()]).tolist()
    return packed


def unpack_bins(packed: Sequence[float]) -> NDArray[np.float64]:
    """Return what `pack_bins` packed. Raises ValueError for what it did not."""
    columns = np.array(packed, np.float64).reshape(1 + len(BIN_SUMS), -1)
    sums = np.zeros((len(BIN_SUMS), SCORE_BINS))
    numbers = columns[0]
    if not ((numbers >= 0) & (numbers < SCORE_BINS)).all():
        raise ValueError(f"bins must be in [0, {SCORE_BINS})")
    sums[:, numbers.astype(np.int64)] = columns[1:]
    return sums


def _array(column: pa.Array) -> Any:
    return column.to_numpy(zero_copy_only=True)


def _within(score: Floats) -> Floats:
    """Return scores as losses take them; what is no number counts as the least."""
    return np.fmin(np.fmax(score, LOG_LOSS_CLIP), 1.0 - LOG_LOSS_CLIP)


@compiled(types.void(_MEANS, types.int64, types.int64, types.float64, types.float64, types.float64))
def _add(means: Any, cohort: int, mean: int, weight: float, value: float, sign: float) -> None:
    """Add one row to the sums of one mean, or take it out where `sign` is -1."""
    sums = means[cohort, mean]
    weighted = weight * value
    sums[0] += sign
    sums[1] += sign * weight
    sums[2] += sign * weight * weight
    sums[3] += sign * weighted
    sums[4] += sign * weight * weighted
    sums[5] += sign * weighted * weighted
    sums[6] = max(sums[6], weight)


@compiled(
    types.void(
        LONGS, FLOATS,
        FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, LONGS,
        FLOATS, FLOATS, FLOATS, FLOATS, BOOLS, FLOATS, INTS, types.float64,
        _COUNTS, _MEANS, _BINS,
    )
)  # fmt: skip
def _add_up(
    cohort: Any,
    score: Any,
    tested: Any,
    up: Any,
    down: Any,
    better: Any,
    better_up: Any,
    better_down: Any,
    served: Any,
    served_up: Any,
    served_down: Any,
    place: Any,
    label: Any,
    weight: Any,
    was_label: Any,
    was_weight: Any,
    is_served: Any,
    propensity: Any,
    revision: Any,
    floor: float,
    counts: Any,
    means: Any,
    bins: Any,
) -> None:
    for row in range(len(score)):
        at, bin_ = cohort[row], place[row]
        counts[at, 1 if revision[row] else 0] += 1
        for side in range(2 if revision[row] else 1):
            y, w, sign = (label[row], weight[row], 1.0) if side == 0 else (was_label[row], was_weight[row], -1.0)
            if not w > 0.0:
                continue
            brier, loss = (score[row] - y) ** 2, -y * up[row] - (1.0 - y) * down[row]
            _add(means, at, 0, w, y, sign)
            _add(means, at, 1, w, brier, sign)
            _add(means, at, 2, w, loss, sign)
            _add(means, at, 3, w, (better[row] - y) ** 2, sign)
            _add(means, at, 4, w, -y * better_up[row] - (1.0 - y) * better_down[row], sign)
            if is_served[row]:
                _add(means, at, _SERVED, w, (served[row] - y) ** 2, sign)
                _add(means, at, _SERVED + 1, w, -y * served_up[row] - (1.0 - y) * served_down[row], sign)
            if propensity[row] > 0.0:
                v = w / max(propensity[row], floor)
                _add(means, at, _WEIGHED, v, y, sign)
                _add(means, at, _WEIGHED + 1, v, brier, sign)
                _add(means, at, _WEIGHED + 2, v, loss, sign)
            bins[at, 0, bin_] += sign * w
            bins[at, 1, bin_] += sign * w * w
            bins[at, 2, bin_] += sign * w * tested[row]
            bins[at, 3, bin_] += sign * w * y
            bins[at, 4, bin_] += sign * w * better[row]
