"""What an evaluation adds up by cohort, against the plain way to say the same; revisions leave the final labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rheostat.learners.importance import Moments
from rheostat.learners.platt import PlattScaling
from rheostat.streams.learn import evaluation
from rheostat.streams.learn.cohorts import MEANS, SUMS
from tests.support.evaluations import HOUR, T0, evaluated, example


def means(record: dict[str, Any], name: str) -> Moments:
    """Add up one mean over all cohorts."""
    found = Moments()
    for each in record["cohorts"]:
        rows, *sums = np.reshape(each["means"], (len(MEANS), len(SUMS)))[MEANS.index(name)].tolist()
        found += Moments(int(rows), *sums)
    return found


def plain(records: list[dict[str, Any]], name: str) -> Moments:
    served = [each for each in records if each["model"] == "toy"]
    logged = [each for each in records if each["propensity"] is not None]
    rows = served if name.startswith("served") else logged if name.startswith("ips") else records
    score = np.array([each["score"] if name.startswith("served") else _tested(each) for each in rows])
    label = np.array([each["label"] for each in rows])
    weight = np.array([each["weight"] for each in rows])
    if name.startswith("ips"):
        weight = weight / np.maximum([each["propensity"] for each in rows], evaluation.PROPENSITY_FLOOR)
    loss = -label * np.log(score) - (1.0 - label) * np.log1p(-score)
    kind = name.rpartition("_")[2]
    return Moments.of(weight, {"label": label, "brier": (score - label) ** 2, "loss": loss}[kind])


def _tested(each: dict[str, Any]) -> float:
    return float(1.0 / (1.0 + np.exp(-each["numeric"][0])))


@pytest.mark.parametrize("name", MEANS)
def test_sums_are_those_of_their_rows(name: str) -> None:
    records = [example(number) for number in range(60)]
    found, expected = means(evaluated(records), name), plain(records, name)
    assert found.rows == expected.rows > 10
    for sum_ in ("weight", "weight_squared", "total", "weighted_total", "weighted_squares", "weight_max"):
        assert getattr(found, sum_) == pytest.approx(getattr(expected, sum_))


@pytest.mark.parametrize("name", ["label", "served_brier", "served_log_loss", "ips_label"])
def test_a_revision_leaves_the_sums_of_the_final_labels(name: str) -> None:
    before = [example(number) for number in range(30)]
    after = [
        each | {"label": 1.0 - each["label"], "weight": 0.0 if at % 4 == 0 else 1.5} for at, each in enumerate(before)
    ]
    revisions = [
        new | {"revision": 1, "was_label": old["label"], "was_weight": old["weight"]}
        for old, new in zip(before, after, strict=True)
    ]
    found, expected = means(evaluated(before + revisions), name), plain(after, name)
    assert found.rows == expected.rows
    for sum_ in ("weight", "weight_squared", "total", "weighted_total", "weighted_squares"):
        assert getattr(found, sum_) == pytest.approx(getattr(expected, sum_), abs=1e-9)


def test_cohorts_are_hours_of_prediction_and_detectors_see_new_examples_alone() -> None:
    records = [example(number) for number in range(12)]
    revision = records[0] | {"revision": 1, "was_label": records[0]["label"], "was_weight": records[0]["weight"]}
    found = evaluated([*records, revision])
    assert {(each["segment"], each["predicted_from"]) for each in found["cohorts"]} == {
        (segment, (T0 + hour * HOUR) // HOUR * HOUR) for segment in ("", "a") for hour in range(3)
    }
    assert sum(each["examples"] for each in found["cohorts"]) == 12
    assert sum(each["revised"] for each in found["cohorts"]) == 1
    assert sum(each["count"] for each in found["cells"]) == 12


def test_calibration_is_tested_before_it_learns() -> None:
    calibration = PlattScaling()
    records = [example(number, weight=1.0) for number in range(1_024)]
    first, second = evaluated(records, calibration), evaluated(records, calibration)
    assert (first["calibration_slope"], first["calibration_offset"]) == (1.0, 0.0)
    assert second["calibration_slope"] != 1.0
    assert means(first, "calibrated_log_loss").mean == pytest.approx(means(first, "log_loss").mean)
    raw, better = means(second, "log_loss").mean, means(second, "calibrated_log_loss").mean
    assert raw is not None
    assert better is not None
    assert better < raw


def test_a_calibration_goes_on_exactly_from_its_state() -> None:
    records = [example(number) for number in range(1_500)]
    going, stopped = PlattScaling(), PlattScaling()
    evaluated(records, going)
    evaluated(records, stopped)
    restored = evaluation.calibration_of(json.loads(json.dumps(evaluation.calibration_state(stopped))))
    assert evaluated(records, going) == evaluated(records, restored)
    assert evaluation.calibration_state(restored) == evaluation.calibration_state(going)
    assert evaluation.calibration_of(()).slope == 1.0
