"""How well a backtest's learner did: in all, over time, by segment and by the age of labels.

All of it is test-then-train on scores that were given at the time of the prediction, by a version that knew only the
labels that had come by then. `tested` besides is what the learner's own test says (`evaluations`): it scores an example
when its label is there, so by a version that is newer by the label's delay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners import prequential
from rheostat.learners.calibration import calibration_error, equal_mass_bins, error_by_chance
from rheostat.learners.contract import Floats
from rheostat.streams.backtest.learner import Tried
from rheostat.streams.backtest.learner_outcomes import LearnerOutcomes
from rheostat.streams.backtest.learner_rows import LearnerRows
from rheostat.streams.backtest.periods import Periods

SEGMENTS_MAX = 50
_BINS = 15
_Mask = NDArray[np.bool_] | NDArray[np.intp]


def report(rows: LearnerRows, tried: Tried, periods: Periods, model: str) -> dict[str, Any]:
    """Return all there is to say, as JSON. Metrics are not weighted; what cannot be told is None."""
    outcomes = tried.outcomes
    segments, left_out = _largest_segments(outcomes)
    return {
        "model": model,
        "learner": tried.kind,
        "feature_set": rows.batch.schema_id,
        "predictions": len(rows),
        "labels": tried.labels,
        "examples": len(outcomes),
        "steps": tried.steps,
        "version": str(tried.version),
        "digest": tried.digest,
        "seconds": round(tried.seconds, 3),
        "examples_per_s": round(len(outcomes) / tried.seconds, 1),
        "total": measures(outcomes, slice(None)),
        "logged": None if outcomes.logged is None else measures(outcomes, slice(None), outcomes.logged),
        "tested": _tested(outcomes),
        "period": {"unit": periods.unit, "length": periods.length},
        "periods": list(_over_time(outcomes, periods, segments)),
        "segments": [{"segment": name} | measures(outcomes, outcomes.segment == name) for name in segments],
        "segments_left_out": left_out,
        "label_ages": list(_by_label_age(outcomes)),
        "join": dict(tried.books),
    }


def measures(outcomes: LearnerOutcomes, which: _Mask | slice, score: Floats | None = None) -> dict[str, Any]:
    """Return the metrics of some examples, of the scores served unless others are given."""
    scores = (outcomes.served if score is None else score)[which]
    labels, count = outcomes.label[which], len(scores)
    if not count:
        return {"examples": 0}
    (sums,) = prequential.cells(scores, labels, outcomes.weight[which], [None] * count, np.zeros(count, np.int64))
    bins = equal_mass_bins(scores, labels, np.ones(count), _BINS)
    return {
        "examples": count,
        "weight": sums["weight_sum"],
        "label_mean": sums["label_sum"] / count,
        "score_mean": sums["score_sum"] / count,
        "roc_auc": prequential.roc_auc(scores, labels),
        "log_loss": sums["log_loss_sum"] / count,
        "brier": sums["brier_sum"] / count,
        "calibration_error": calibration_error(bins),
        "calibration_error_by_chance": error_by_chance(bins),
    }


def _over_time(outcomes: LearnerOutcomes, periods: Periods, segments: list[str]) -> Iterator[dict[str, Any]]:
    codes = periods.codes(outcomes.times_ms, outcomes.row)
    order = np.argsort(codes, kind="stable")
    values, starts = np.unique(codes[order], return_index=True)
    for code, which in zip(values.tolist(), np.split(order, starts[1:]), strict=True):
        yield {
            "period": periods.name(code),
            **measures(outcomes, which),
            "logged_roc_auc": None
            if outcomes.logged is None
            else prequential.roc_auc(outcomes.logged[which], outcomes.label[which]),
            "segments": [
                {"segment": name} | measures(outcomes, inside)
                for name in segments
                if len(inside := which[outcomes.segment[which] == name])
            ],
        }


def _by_label_age(outcomes: LearnerOutcomes) -> Iterator[dict[str, Any]]:
    codes = prequential.label_age_codes(outcomes.label_age_ms)
    for code, name in enumerate(prequential.LABEL_AGES):
        if (inside := codes == code).any():
            yield {"label_age": name} | measures(outcomes, inside)


def _tested(outcomes: LearnerOutcomes) -> dict[str, float]:
    sums = outcomes.tested
    if not sums.get("count"):
        return {}
    return {name: sums[f"{name}_sum"] / sums["count"] for name in ("log_loss", "brier", "error")}


def _largest_segments(outcomes: LearnerOutcomes) -> tuple[list[str], int]:
    """Return the names of the segments with the most examples, and how many others there are."""
    names, counts = np.unique(outcomes.segment.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return names[order[:SEGMENTS_MAX]].tolist(), max(0, len(names) - SEGMENTS_MAX)
