"""Evaluations added up: however they were cut, by final labels, of mature cohorts alone."""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rheostat.learners.calibration import calibration_error, equal_mass_bins
from rheostat.learners.platt import PlattScaling
from rheostat.learners.prequential import roc_auc
from rheostat.learners.score_bins import SCORE_BINS
from rheostat.streams.cli.evaluate import show
from rheostat.streams.evaluations import Evaluations, Totals, added_up, report
from rheostat.streams.learn.cohorts import BIN_SUMS, pack_bins, unpack_bins
from tests.support.evaluations import HOUR, T0, evaluated, example

Record = dict[str, Any]


def revision(old: Record, **changes: Any) -> Record:
    return old | {"revision": 1, "was_label": old["label"], "was_weight": old["weight"]} | changes


def told(*blocks: list[Record], mature_ms: int = 0, since_ms: int = 0) -> Record:
    """Return the report of evaluations of blocks, with all cohorts mature unless told otherwise."""
    passing = example(0, predicted_at=T0 + 10 * HOUR, occurred_at=T0 + 10 * HOUR, weight=0.0)
    records = [evaluated(each, now_ms=T0 + 20 * HOUR) for each in (*blocks, [passing])]
    return report(added_up(records, "toy", mature_ms, since_ms))


def figures(found: Any, *left_out: str) -> Any:
    """Return a report or a part of one with figures to compare, but for rounding."""
    if isinstance(found, dict):
        return {name: figures(each, *left_out) for name, each in found.items() if name not in left_out}
    if isinstance(found, list):
        return [figures(each, *left_out) for each in found]
    return pytest.approx(found, rel=1e-6, abs=1e-6) if isinstance(found, float) else found


def test_blocks_add_up_to_one_block() -> None:
    records = [example(number) for number in range(300)]
    parts = [records[:7], records[7:150], records[150:]]
    assert told(*parts) == figures(told(records), "evaluations") | {"evaluations": len(parts) + 1}
    found = Evaluations(mature_ms=-3 * HOUR)
    for each in parts:
        found.add(evaluated(each, now_ms=T0 + 20 * HOUR))
    assert found.all().moments("label").weight_max == max(each["weight"] for each in records)


def test_what_was_revised_counts_by_its_final_label_alone() -> None:
    before = [example(number) for number in range(200)]
    after = [
        each | {"label": 1.0 - each["label"], "weight": 0.0 if at % 4 == 0 else 1.5} for at, each in enumerate(before)
    ]
    changed = [revision(old, label=new["label"], weight=new["weight"]) for old, new in zip(before, after, strict=True)]
    found, expected = told(before, changed), told(after)
    # The largest weight that there was stays in the bounds of intervals; label ages are of first labels.
    left_out = ("evaluations", "label_ages", "label_low", "label_high", "revised")
    assert figures(found, *left_out) == figures(expected, *left_out)
    assert found["all"]["revised"] == 200
    assert found["all"]["importance_weighted"]["label_low"] <= expected["all"]["importance_weighted"]["label_low"]


def overconfident(count: int) -> list[Record]:
    """Return examples whose labels are less often 1 than their scores say."""
    random = np.random.default_rng(5)
    logits = random.normal(0.0, 1.5, count)
    label = (random.random(count) < (1.0 / (1.0 + np.exp(-logits))) ** 2).astype(np.float64)
    return [
        example(number, numeric=[at, 0.0], label=of, weight=1.0, segment=None)
        for number, (at, of) in enumerate(zip(logits.tolist(), label.tolist(), strict=True))
    ]


def test_figures_are_those_of_the_scores_themselves() -> None:
    records = overconfident(3_000)
    score = 1.0 / (1.0 + np.exp(-np.array([each["numeric"][0] for each in records])))
    label = np.array([each["label"] for each in records])
    found = told(records)["all"]
    exact = roc_auc(score, label)
    assert exact is not None
    assert abs(found["auc"] - exact) <= found["auc_error_max"] < 0.02
    direct = calibration_error(equal_mass_bins(score, label, np.ones(3_000)))
    assert found["calibration_error"] == pytest.approx(direct, abs=0.01)
    assert found["calibration_error"] > 5.0 * found["calibration_error_by_chance"]
    assert found["brier"] == pytest.approx(float(np.mean((score - label) ** 2)))


def test_calibrated_scores_have_figures_of_their_own() -> None:
    records, calibration = overconfident(3_000), PlattScaling()
    evaluated(records, calibration)
    found = Evaluations(mature_ms=-3 * HOUR)
    found.add(evaluated(records, calibration, now_ms=T0 + 20 * HOUR))
    made = report(found)
    assert made["calibration"] == {"slope": pytest.approx(1.2, abs=0.4), "offset": pytest.approx(-0.9, abs=0.3)}
    raw, better = made["all"], made["all"]["calibrated"]
    assert better["calibration_error"] < 3.0 * better["calibration_error_by_chance"] < raw["calibration_error"]
    assert better["log_loss"] < raw["log_loss"]


def test_young_cohorts_wait_and_late_revisions_reach_mature_ones() -> None:
    late = T0 + 2 * HOUR
    records = [example(number, occurred_at=T0 + 1) for number in range(90)]
    newest = example(100, predicted_at=late, occurred_at=late + HOUR)
    found = told(records)["all"]
    assert found["examples"] == 90
    young = Evaluations(mature_ms=HOUR)
    young.add(evaluated(records, now_ms=T0 + 20 * HOUR))
    assert (young.all().examples, young.young_examples) == (0, 90)
    young.add(evaluated([newest], now_ms=T0 + 20 * HOUR))
    assert young.mature_hours == {T0 // HOUR * HOUR, (T0 + HOUR) // HOUR * HOUR}
    assert (young.all().examples, young.young_examples) == (60, 31)
    first = next(each for each in records if each["predicted_at"] == T0 and each["weight"] == 1.0)
    before = young.all().moments("label")
    young.add(evaluated([revision(first, weight=0.0)], now_ms=T0 + 20 * HOUR))
    assert young.all().moments("label").rows == before.rows - 1
    assert young.all().moments("label").weight == pytest.approx(before.weight - 1.0)


def test_what_is_labelled_after_its_test_makes_nothing_mature() -> None:
    found = Evaluations(mature_ms=HOUR)
    found.add(evaluated([example(3, predicted_at=T0, occurred_at=T0 + 90 * HOUR)], now_ms=T0 + 1))
    assert not found.mature_hours


def test_predictions_before_a_moment_and_other_models_are_left_out() -> None:
    records = [example(number) for number in range(90)]
    assert told(records, since_ms=T0 + HOUR)["all"]["examples"] == 60
    assert added_up([evaluated(records) | {"model": "other"}], "toy", 0).records == 0


def test_bins_are_read_as_they_were_packed() -> None:
    sums = np.zeros((len(BIN_SUMS), SCORE_BINS))
    sums[:, [0, 5, SCORE_BINS - 1]] = np.random.default_rng(1).random((len(BIN_SUMS), 3))
    assert (unpack_bins(pack_bins(sums)) == sums).all()
    assert not unpack_bins(pack_bins(np.zeros_like(sums))).any()


@pytest.mark.parametrize("packed", [[1.0] * 5, [-1.0] + [0.0] * 5, [float(SCORE_BINS)] + [0.0] * 5])
def test_what_are_no_bins_is_refused(packed: list[float]) -> None:
    with pytest.raises(ValueError, match=r"bins must be|cannot reshape"):
        unpack_bins(packed)


def test_a_bin_that_counts_less_than_nothing_is_put_to_its_neighbours() -> None:
    totals = Totals()
    weight = np.zeros(SCORE_BINS)
    weight[[10, 20, 30, 31, 40, 50]] = 5.0, -2.0, 0.0, 4.0, -3.0, 1.0
    totals.bins[:] = weight * 0.5
    totals.bins[0] = weight
    found = totals.score_bins()
    assert (found.weights > 0.0).all()
    assert found.weights.sum() == weight.sum()
    assert calibration_error(found) == 0.0
    assert not len(Totals().score_bins().weights)


def test_tables_are_read_at_a_hundred_columns() -> None:
    records = [example(number, segment=f"segment [{number % 3}]") for number in range(3_000)]
    console = Console(width=100, record=True, file=StringIO())
    show({"model": "toy"} | told(records), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    for title in ("segment [0]", "ROC AUC", "calibrated: error", "95 % interval", "under 1m"):
        assert title in text
    assert len(text.splitlines()) < 50
