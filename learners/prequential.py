"""Test-then-train in numbers: what a block of scored examples says, in sums that can be added up, and ROC AUC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Floats

LOG_LOSS_CLIP = 1e-6

LABEL_AGES = ("under 1m", "under 1h", "under 1d", "under 7d", "7d and over")
"""Buckets of the time from prediction to label, youngest first."""

_AGE_ENDS_MS = np.array([60_000, 3_600_000, 86_400_000, 604_800_000])
_AGES = len(LABEL_AGES)
_SUMS = ("weight_sum", "brier_sum", "brier_squared_sum", "log_loss_sum", "error_sum", "score_sum", "label_sum")


def cells(
    score: Floats,
    label: Floats,
    weight: Floats,
    segment: Sequence[str | None],
    label_age_ms: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return the `cells` of an evaluation: one for each (segment, label age) that occurs, in that order.

    score: predicted before the example was learned, in [0, 1]. label in [0, 1]; from 0.5 on it counts as positive for
    `error_sum`. segment: None is the empty text. All arguments have one length. Losses are not weighted, so that each
    Brier loss is in [0, 1] and `count` of them can feed a detector. The cells of two blocks add up field by field.
    """
    if not len(score) == len(label) == len(weight) == len(segment) == len(label_age_ms):
        raise ValueError("score, label, weight, segment and label_age_ms must have one length")
    if not len(score):
        return []
    texts = [name or "" for name in segment]
    names = sorted(set(texts))
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.fromiter(map(code_of.__getitem__, texts), np.int64, len(texts))
    return coded_cells(score, label, weight, codes, label_age_ms, names=names)


def coded_cells(
    score: Floats,
    label: Floats,
    weight: Floats,
    segment: NDArray[np.integer[Any]],
    label_age_ms: NDArray[np.int64],
    *,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return `cells` where segments are given as places in `names`, in whose order the cells then are."""
    codes = label_age_codes(label_age_ms) + segment.astype(np.int64) * _AGES
    counts = np.bincount(codes, minlength=len(names) * _AGES)
    present = np.flatnonzero(counts)
    sums = [np.bincount(codes, each, len(counts))[present].tolist() for each in _losses(score, label, weight)]
    found = zip(present.tolist(), counts[present].tolist(), zip(*sums, strict=True), strict=True)
    return [
        {
            "segment": names[code // _AGES],
            "label_age": LABEL_AGES[code % _AGES],
            "count": count,
            **dict(zip(_SUMS, of_cell, strict=True)),
        }
        for code, count, of_cell in found
    ]


def label_age_codes(label_age_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index in `LABEL_AGES` of each age; a negative age (clocks disagree) counts as the youngest."""
    return _AGE_ENDS_MS.searchsorted(label_age_ms, side="right")


def roc_auc(score: Floats, label: Floats) -> float | None:
    """Return the chance that a positive (label at least 0.5) scores above a negative, ties counting half.

    None when one of the classes is absent.
    """
    return weighted_auc(score, label >= 0.5, np.ones(len(score)))


def weighted_auc(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> float | None:
    """Return the weighted chance that a positive scores above a negative, ties counting half.

    None where one of the classes is absent. The sum of w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) over positives i and
    negatives j, divided by sum w_i sum w_j; by sorting, not pair by pair.
    """
    values, places = np.unique(score, return_inverse=True)
    up = np.bincount(places, np.where(positive, weight, 0.0), len(values))
    down = np.bincount(places, np.where(positive, 0.0, weight), len(values))
    all_up, all_down = float(up.sum()), float(down.sum())
    if not all_up or not all_down:
        return None
    below = np.cumsum(down) - down
    return min(float(up @ (below + down / 2.0)) / (all_up * all_down), 1.0)


class RollingAUC:
    """ROC AUC over the last `window` examples."""

    def __init__(self, window: int) -> None:
        if window < 2:
            raise ValueError(f"window must hold at least 2 examples, got {window}")
        self._window = window
        self._score = np.zeros(0)
        self._label = np.zeros(0)

    def add(self, score: Floats, label: Floats) -> None:
        """Take in scored examples, in order, forgetting the oldest beyond the window."""
        self._score = np.concatenate([self._score, score])[-self._window :]
        self._label = np.concatenate([self._label, label])[-self._window :]

    def value(self) -> float | None:
        """Return the AUC of the examples in the window, None while one of the classes is absent."""
        return roc_auc(self._score, self._label)


def _losses(score: Floats, label: Floats, weight: Floats) -> tuple[Floats, ...]:
    """Return what each example adds to the sums of a cell, in the order of `_SUMS`."""
    brier = (score - label) ** 2
    clipped = np.clip(score, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    log_loss = -(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped))
    error = ((score >= 0.5) != (label >= 0.5)).astype(np.float64)
    return weight, brier, brier * brier, log_loss, error, score, label
