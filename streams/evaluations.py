"""How good a model is, from its `evaluations`: their sums added up, and the figures that follow from them.

A cohort is the predictions of one hour. It is mature, and counts here, once it is older than a given age: before that
quick labels are over-represented in it. Corrections that come later still are revisions in the same cohort, so its sums
are always those of the final labels (rheostat.streams.learn.cohorts).

What is estimated, of the predictions i in mature cohorts: the mean of q_i, which is the label or a loss. The label is
the one that stands now: of feedback, late feedback too, without what was taken back or corrected to nothing; the
default label for silence. w_i is its weight, p_i the logged propensity.

    as chosen           sum w q / sum w
    importance_weighted SNIPS, v = w / max(p, floor) for w: had each action that could be chosen been chosen the same.
                        One with a propensity below the floor counts p / floor of that.

The second is unbiased, but for the ratio's share of 1 / n, and its interval holds, where
- a prediction counts once: there is a reward function, or at most one signal stands (rheostat.streams.join.rewards);
- weights do not go with labels: signals weigh on average what silence does (`default_weight`). Else the mean is the
  weighted one, which leans to what weighs more;
- all is said while predictions are kept, `window_ms` and `late_ms`: what is corrected later changes no cohort.

tests/simulation/test_unbiased_estimate.py holds it to that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.calibration import Bins, calibration_error, error_by_chance, merged
from rheostat.learners.importance import EFFECTIVE_ROWS_MIN, Moments
from rheostat.learners.prequential import LABEL_AGES
from rheostat.learners.score_bins import SCORE_BINS, BinnedAUC, binned_auc
from rheostat.streams.learn.cohorts import BIN_SUMS, COHORT_MS, MEANS, SUMS, unpack_bins

Sums = NDArray[np.float64]

_WEIGHT_MAX = SUMS.index("weight_max")
_RESIDUE = 1e-9
_CELL_SUMS = ("count", "brier_sum", "log_loss_sum", "score_sum", "label_sum")


@dataclass(slots=True)
class Totals:
    """Sums over tested examples: `means` of (`MEANS`, `SUMS`), `bins` of (`BIN_SUMS`, `SCORE_BINS`)."""

    examples: int = 0
    revised: int = 0
    means: Sums = field(default_factory=lambda: np.zeros((len(MEANS), len(SUMS))))
    bins: Sums = field(default_factory=lambda: np.zeros((len(BIN_SUMS), SCORE_BINS)))

    @staticmethod
    def of(cohort: Mapping[str, Any]) -> Totals:
        """Return those of one of the `cohorts` of an evaluation. Raises ValueError where it is not of this shape."""
        means = np.array(cohort["means"], np.float64).reshape(len(MEANS), len(SUMS))
        return Totals(cohort["examples"], cohort["revised"], means, unpack_bins(cohort["bins"]))

    def add(self, other: Totals) -> None:
        """Take in what was tested elsewhere."""
        self.examples += other.examples
        self.revised += other.revised
        largest = np.maximum(self.means[:, _WEIGHT_MAX], other.means[:, _WEIGHT_MAX])
        self.means += other.means
        self.means[:, _WEIGHT_MAX] = largest
        self.bins += other.bins

    def moments(self, mean: str) -> Moments:
        """Return the sums of one of `MEANS`."""
        rows, *sums = self.means[MEANS.index(mean)].tolist()
        return Moments(round(rows), *sums)

    @property
    def auc(self) -> BinnedAUC | None:
        """ROC AUC, with the most that bins may make it be off; None where one of the classes is absent."""
        weight, _, _, label, _ = self.bins
        return binned_auc(weight, label)

    def score_bins(self, *, calibrated: bool = False) -> Bins:
        """Return bins of about the same weight, from which the error of calibration follows.

        A revision is tested by a later version than its example and may fall into another bin: neighbouring bins are
        put together until none counts less than nothing.
        """
        weight, squared, score, label, better = self.bins
        score = better if calibrated else score
        total = np.cumsum(weight)
        later = np.minimum.accumulate(np.append(total[1:], np.inf)[::-1])[::-1]
        ends = np.flatnonzero((total > _RESIDUE) & (total < later - _RESIDUE))
        if not len(ends):
            return Bins(*np.zeros((4, 0)))
        starts = np.concatenate([[0], ends[:-1] + 1])
        mass, squares, scores, labels = (np.add.reduceat(each, starts) for each in (weight, squared, score, label))
        mean = np.clip(scores / mass, 0.0, 1.0)
        return merged(Bins(mass, scores, labels, np.maximum(squares, 0.0) * mean * (1.0 - mean)))


class Evaluations:
    """Adds up the evaluations of one model, in the order of the log.

    Time is that of labels: a cohort is mature once a label was given `mature_ms` after its end. since_ms: earlier
    predictions are left out; evaluations since then hold all of the others.
    """

    def __init__(self, mature_ms: int, since_ms: int = 0) -> None:
        self.mature_ms = mature_ms
        self.since_ms = since_ms
        self.newest_ms = 0
        self.records = 0
        self.propensity_floor = 1.0
        self.line = (1.0, 0.0)
        self.mature_hours: set[int] = set()
        self.segments: dict[str, Totals] = defaultdict(Totals)
        self.ages: dict[str, dict[str, float]] = {}
        self._young: dict[tuple[int, str], Totals] = defaultdict(Totals)

    @property
    def young_examples(self) -> int:
        """How many examples are in cohorts that are not mature yet."""
        return sum(each.examples for each in self._young.values())

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in one record of `evaluations`."""
        self.records += 1
        # Nothing can be labelled after it was tested, whatever the clock of who labelled it says.
        self.newest_ms = max(self.newest_ms, min(record["last_at"], record["evaluated_at"]))
        self.propensity_floor = record["propensity_floor"]
        self.line = (record["calibration_slope"], record["calibration_offset"])
        for cohort in record["cohorts"]:
            if cohort["predicted_from"] >= self.since_ms:
                self._young[cohort["predicted_from"], cohort["segment"]].add(Totals.of(cohort))
        for cell in record["cells"]:
            _add_cell(self.ages, cell)
        self._let_mature()

    def all(self) -> Totals:
        """Return the sums over all segments of mature cohorts."""
        found = Totals()
        for each in self.segments.values():
            found.add(each)
        return found

    def _let_mature(self) -> None:
        """Put what is mature to its segment, so that no more is kept than segments and a few hours need."""
        until = self.newest_ms - self.mature_ms - COHORT_MS
        for start, segment in [each for each in self._young if each[0] <= until]:
            self.segments[segment].add(self._young.pop((start, segment)))
            self.mature_hours.add(start)


def added_up(records: Iterable[Mapping[str, Any]], model: str, mature_ms: int, since_ms: int = 0) -> Evaluations:
    """Add up those `evaluations` records that are of a model."""
    found = Evaluations(mature_ms, since_ms)
    for record in records:
        if record["model"] == model:
            found.add(record)
    return found


def report(found: Evaluations) -> dict[str, Any]:
    """Return all figures, for machines; times in ms."""
    hours = found.mature_hours
    return {
        "evaluations": found.records,
        "predicted_from": min(hours, default=None),
        "predicted_until": max(hours) + COHORT_MS if hours else None,
        "mature_ms": found.mature_ms,
        "young_examples": found.young_examples,
        "propensity_floor": found.propensity_floor,
        "calibration": {"slope": found.line[0], "offset": found.line[1]},
        "all": figures(found.all()),
        "segments": {name: figures(found.segments[name]) for name in sorted(found.segments)},
        "label_ages": [age_figures(age, found.ages[age]) for age in LABEL_AGES if age in found.ages],
    }


def figures(totals: Totals) -> dict[str, Any]:
    """Return what sums come to; None for what they say nothing about. Losses are weighted means."""
    label, auc = totals.moments("label"), totals.auc
    raw, calibrated = totals.score_bins(), totals.score_bins(calibrated=True)
    return {
        "examples": totals.examples,
        "revised": totals.revised,
        "rows": label.rows,
        "effective_rows": label.effective_rows,
        "label": label.mean,
        "auc": None if auc is None else auc.value,
        "auc_error_max": None if auc is None else auc.error_max,
        **{name: totals.moments(name).mean for name in ("log_loss", "brier")},
        "calibration_error": calibration_error(raw),
        "calibration_error_by_chance": error_by_chance(raw),
        "calibrated": {
            **{name: totals.moments(f"calibrated_{name}").mean for name in ("log_loss", "brier")},
            "calibration_error": calibration_error(calibrated),
            "calibration_error_by_chance": error_by_chance(calibrated),
        },
        "served": {name: totals.moments(f"served_{name}").mean for name in ("log_loss", "brier")},
        "importance_weighted": _weighted(totals),
    }


def age_figures(age: str, sums: Mapping[str, float]) -> dict[str, Any]:
    """Return what the examples of one label age come to, each counting the same."""
    count = sums["count"]
    return {"label_age": age, "examples": int(count)} | {
        name.removesuffix("_sum"): sums[name] / count for name in _CELL_SUMS[1:]
    }


def _weighted(totals: Totals) -> dict[str, Any]:
    label = totals.moments("ips_label")
    interval = label.interval()
    return {
        "rows": label.rows,
        "effective_rows": label.effective_rows,
        "too_few": label.effective_rows < EFFECTIVE_ROWS_MIN,
        "label": label.mean,
        "label_low": None if interval is None else interval.low,
        "label_high": None if interval is None else interval.high,
        **{name: totals.moments(f"ips_{name}").mean for name in ("log_loss", "brier")},
    }


def _add_cell(ages: dict[str, dict[str, float]], cell: Mapping[str, Any]) -> None:
    sums = ages.setdefault(cell["label_age"], dict.fromkeys(_CELL_SUMS, 0.0))
    for name in _CELL_SUMS:
        sums[name] += cell[name]
