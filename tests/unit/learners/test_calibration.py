"""Calibration error is what its definition says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.calibration import calibration_error, equal_mass_bins, error_by_chance
from rheostat.learners.contract import Floats
from tests.unit.learners.support import bent

scored = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 1), st.integers(0, 3)), max_size=40
).map(lambda rows: tuple(np.array(rows, np.float64).reshape(-1, 3).T))


@given(scored, st.integers(1, 8))
def test_bins_lose_nothing_and_part_no_equal_scores(rows: tuple[Floats, ...], bins: int) -> None:
    score, label, weight = rows
    cut = equal_mass_bins(score, label, weight, bins)
    assert len(cut.weights) <= bins
    assert cut.weights.sum() == pytest.approx(weight.sum())
    assert cut.scores.sum() == pytest.approx((weight * score).sum())
    assert cut.labels.sum() == pytest.approx((weight * label).sum())
    means = cut.scores / cut.weights
    assert (np.diff(means) > 0.0).all()
    heaviest = max([weight[score == each].sum() for each in np.unique(score)], default=0.0)
    assert (cut.weights <= weight.sum() / bins + heaviest + 1e-9).all()
    assert abs((weight * (label - score)).sum()) <= calibration_error(cut) * max(weight.sum(), 1e-9) + 1e-9


def test_the_error_of_one_score_is_how_far_it_lies_from_the_share_of_positives() -> None:
    bins = equal_mass_bins(np.full(10, 0.3), np.array([1.0] * 5 + [0.0] * 5), np.ones(10))
    assert calibration_error(bins) == pytest.approx(0.2)
    assert calibration_error(equal_mass_bins(np.zeros(0), np.zeros(0), np.zeros(0))) == 0.0


def test_true_probabilities_have_the_error_of_chance_and_bent_ones_more() -> None:
    errors, by_chance = [], []
    for seed in range(40):
        bins = equal_mass_bins(*bent(2_000, 1.0, 0.0, seed))
        errors.append(calibration_error(bins))
        by_chance.append(error_by_chance(bins))
    assert np.mean(errors) == pytest.approx(np.mean(by_chance), rel=0.1)
    bins = equal_mass_bins(*bent(2_000, 0.5, 0.3))
    assert calibration_error(bins) > 3.0 * error_by_chance(bins)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="bins"):
        equal_mass_bins(np.zeros(1), np.zeros(1), np.ones(1), 0)
