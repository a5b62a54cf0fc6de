"""What is counted in fixed bins of the score: ROC AUC within the error it states."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.learners.prequential import roc_auc
from rheostat.learners.score_bins import SCORE_BINS, binned_auc, score_bins


def test_bins_rise_with_the_score_and_none_is_outside() -> None:
    score = np.concatenate([[0.0], np.sort(np.random.default_rng(1).random(1_000)), [1.0]])
    found = score_bins(score)
    assert (np.diff(found) >= 0).all()
    assert 0 <= found[0] < found[-1] < SCORE_BINS


@pytest.mark.parametrize("sharp", [0.2, 1.0, 3.0])
def test_auc_is_within_its_stated_error(sharp: float) -> None:
    random = np.random.default_rng(2)
    score = 1.0 / (1.0 + np.exp(-random.normal(0.0, sharp, 5_000)))
    label = (random.random(5_000) < score).astype(np.float64)
    places = score_bins(score)
    found = binned_auc(
        np.bincount(places, minlength=SCORE_BINS).astype(float), np.bincount(places, label, SCORE_BINS).astype(float)
    )
    exact = roc_auc(score, label)
    assert found is not None
    assert exact is not None
    assert abs(found.value - exact) <= found.error_max
    assert abs(found.value - exact) < 0.002


def test_there_is_none_without_both_classes() -> None:
    assert binned_auc(np.ones(SCORE_BINS), np.ones(SCORE_BINS)) is None
