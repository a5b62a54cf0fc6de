"""Platt scaling finds the line that was bent, however rows are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.calibration import calibration_error, equal_mass_bins, error_by_chance
from rheostat.learners.platt import PlattScaling
from rheostat.learners.prequential import roc_auc
from tests.unit.learners.support import bent


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -0.4), (1.8, 0.7)])
def test_the_line_that_was_bent_is_found(slope: float, offset: float) -> None:
    score, label, weight = bent(60_000, slope, offset)
    platt = PlattScaling()
    platt.learn(score, label, weight)
    assert (platt.slope, platt.offset) == pytest.approx((slope, offset), abs=0.08)
    fresh = bent(20_000, slope, offset, seed=2)
    bins = equal_mass_bins(platt.calibrated(fresh[0]), *fresh[1:])
    assert calibration_error(bins) < 2.0 * error_by_chance(bins)


def test_it_follows_a_change() -> None:
    platt = PlattScaling(halflife_rows=5_000)
    platt.learn(*bent(50_000, 1.0, 0.0))
    platt.learn(*bent(50_000, 0.5, -0.4, seed=2))
    assert (platt.slope, platt.offset) == pytest.approx((0.5, -0.4), abs=0.15)


def test_before_there_is_evidence_scores_stay_as_they_are() -> None:
    score, label, weight = bent(1_023, 0.2, 2.0)
    platt = PlattScaling()
    platt.learn(score, label, weight)
    assert platt.calibrated(score) == pytest.approx(score)


def test_labels_against_the_scores_never_turn_their_order_round() -> None:
    score, label, weight = bent(20_000, -2.0, 0.0)
    platt = PlattScaling()
    platt.learn(score, label, weight)
    assert platt.slope > 0.0
    assert roc_auc(platt.calibrated(score), label) == pytest.approx(roc_auc(score, label))


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(0, 2_500))
def test_neither_cuts_nor_rows_without_weight_nor_a_restart_matter(cuts: list[int], restart_at: int) -> None:
    score, label, weight = bent(2_500, 0.6, 0.2)
    weight = np.where(np.arange(2_500) % 7 == 0, 0.0, 1.0)
    whole = PlattScaling()
    whole.learn(score[weight > 0.0], label[weight > 0.0], weight[weight > 0.0])
    parts = PlattScaling()
    ends = sorted({*np.cumsum(cuts).clip(0, 2_500).tolist(), restart_at, 2_500})
    for start, end in zip([0, *ends], ends, strict=False):
        parts.learn(score[start:end], label[start:end], weight[start:end])
        if end == restart_at:
            kept, parts = parts.tensors(), PlattScaling()
            parts.restore(kept)
    expected, found = whole.tensors(), parts.tensors()
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="halflife_rows"):
        PlattScaling(halflife_rows=0.0)
    with pytest.raises(ValueError, match=r"platt\.state"):
        PlattScaling().restore({})
