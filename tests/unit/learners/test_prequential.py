"""Sums of a tested block and ROC AUC, against the plain way to say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners import prequential
from rheostat.learners.prequential import LABEL_AGES, RollingAUC, cells, label_age_codes, roc_auc
from tests.unit.learners.support import ANY_SPEED

unit = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0))
rows = st.lists(
    st.tuples(unit, unit, st.floats(0.0, 10.0), st.sampled_from(["de", "fr", "", None]), st.integers(-10, 10**9)),
    max_size=40,
)
Row = tuple[float, float, float, str | None, int]


def _cells(of: list[Row]) -> dict[tuple[str, str], dict[str, Any]]:
    numbers = np.array([row[:3] for row in of]).reshape(-1, 3)
    ages = np.array([row[4] for row in of], np.int64)
    found = cells(numbers[:, 0], numbers[:, 1], numbers[:, 2], [row[3] for row in of], ages)
    return {(cell["segment"], cell["label_age"]): cell for cell in found}


def _plain(of: list[Row]) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for score, label, weight, segment, age in of:
        key = (segment or "", LABEL_AGES[int(label_age_codes(np.array([age]))[0])])
        cell = found.setdefault(key, dict.fromkeys(("count", *prequential._SUMS), 0.0))
        clipped = min(max(score, 1e-6), 1 - 1e-6)
        brier = (score - label) ** 2
        log_loss = -label * np.log(clipped) - (1 - label) * np.log(1 - clipped)
        error = float((score >= 0.5) != (label >= 0.5))
        added = (1, weight, brier, brier**2, log_loss, error, score, label)
        for name, value in zip(cell, added, strict=True):
            cell[name] += value
    return found


@ANY_SPEED
@given(rows)
def test_cells_are_the_sums_of_their_rows(of: list[Row]) -> None:
    found, expected = _cells(of), _plain(of)
    assert found.keys() == expected.keys()
    for key, cell in found.items():
        sums = {name: value for name, value in cell.items() if name not in ("segment", "label_age")}
        assert sums == pytest.approx(expected[key], abs=1e-8)


@ANY_SPEED
@given(rows, st.integers(0, 40))
def test_cells_of_two_parts_add_up(of: list[Row], cut: int) -> None:
    whole, first, second = _cells(of), _cells(of[:cut]), _cells(of[cut:])
    assert whole.keys() == first.keys() | second.keys()
    for key, cell in whole.items():
        for name in ("count", *prequential._SUMS):
            parts = sum(part[key][name] for part in (first, second) if key in part)
            assert cell[name] == pytest.approx(parts, abs=1e-8)


def test_cells_have_the_fields_of_the_schema() -> None:
    schema = json.loads((Path(__file__).parents[3] / "schemas" / "evaluations.avsc").read_text())
    (field,) = (field for field in schema["fields"] if field["name"] == "cells")
    names = [each["name"] for each in field["type"]["items"]["fields"]]
    (cell,) = _cells([(0.2, 1.0, 1.0, None, 5)]).values()
    assert list(cell) == names


def test_label_ages() -> None:
    minute, hour, day = 60_000, 3_600_000, 86_400_000
    ages = np.array([-5, 0, minute - 1, minute, hour, day, 7 * day - 1, 7 * day])
    assert label_age_codes(ages).tolist() == [0, 0, 0, 1, 2, 3, 3, 4]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        cells(np.zeros(2), np.zeros(2), np.zeros(2), ["a"], np.zeros(2, np.int64))


def _naive_auc(scored: list[tuple[float, bool]]) -> float | None:
    ups = [score for score, positive in scored if positive]
    downs = [score for score, positive in scored if not positive]
    if not ups or not downs:
        return None
    return sum((up > down) + 0.5 * (up == down) for up in ups for down in downs) / (len(ups) * len(downs))


@ANY_SPEED
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.1 + 1e-17, 0.5, 0.7, 1.0]), st.booleans()), max_size=60))
def test_auc_counts_pairs(scored: list[tuple[float, bool]]) -> None:
    found = roc_auc(np.array([score for score, _ in scored]), np.array([float(label) for _, label in scored]))
    expected = _naive_auc(scored)
    assert found == (None if expected is None else pytest.approx(expected))


@ANY_SPEED
@given(st.lists(st.lists(st.tuples(unit, st.booleans()), max_size=8), max_size=8), st.integers(2, 12))
def test_rolling_auc_is_that_of_the_last_rows(blocks: list[list[tuple[float, bool]]], window: int) -> None:
    rolling = RollingAUC(window)
    seen: list[tuple[float, bool]] = []
    for block in blocks:
        seen += block
        rolling.add(np.array([score for score, _ in block]), np.array([float(label) for _, label in block]))
        expected = _naive_auc(seen[-window:])
        assert rolling.value() == (None if expected is None else pytest.approx(expected))


def test_a_window_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        RollingAUC(1)
