"""Batch means: intervals that hold the truth as often as they say, though neighbours resemble each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.batch_means import auc_influence, batch_means, student_quantile
from rheostat.learners.prequential import weighted_auc


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (9, 2.2622), (19, 2.0930), (39, 2.0227)]
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(expected, abs=5e-5)
    assert student_quantile(0.5, freedom) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("chance", [0.4, 1.0])
def test_a_quantile_that_is_not_there_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(chance, 5)


def autocorrelated(seed: int, rows: int = 4_000, memory: float = 0.9) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return values around 0, each of which is most of the one before it."""
    noise = np.random.default_rng(seed).normal(size=rows)
    values = np.empty(rows)
    values[0] = noise[0] / math.sqrt(1 - memory**2)
    for row in range(1, rows):
        values[row] = memory * values[row - 1] + noise[row]
    return values


def test_bounds_hold_the_mean_as_often_as_they_say_where_values_resemble_their_neighbours() -> None:
    runs = 150
    held = independent = 0
    for seed in range(runs):
        values = autocorrelated(seed)
        found = batch_means(values, np.ones(len(values)), 0.95)
        held += found.lower <= 0.0 <= found.upper
        independent += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(len(values))
    # Three deviations of 150 draws below 95 %.
    assert held >= 0.89 * runs
    assert independent < 0.6 * runs


def test_an_example_of_weight_two_counts_as_two() -> None:
    values = np.random.default_rng(1).normal(size=400)
    doubled = batch_means(np.repeat(values, 2), np.ones(800), 0.9)
    weighted = batch_means(values, np.full(400, 2.0), 0.9)
    assert weighted.mean == pytest.approx(doubled.mean)
    assert weighted.lower == pytest.approx(doubled.lower)


def test_what_has_no_weight_is_not_seen() -> None:
    values = np.random.default_rng(2).normal(size=400)
    weights = np.ones(400)
    weights[::7] = 0.0
    wild = np.where(weights > 0, values, 1e6)
    assert batch_means(wild, weights, 0.95) == batch_means(values, weights, 0.95)


def test_too_few_values_tell_nothing() -> None:
    found = batch_means(np.arange(9.0), np.ones(9), 0.95)
    assert (found.mean, found.lower, found.upper) == (4.0, -math.inf, math.inf)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.booleans(), st.floats(0.0, 3.0).map(lambda weight: round(weight, 2))),
        min_size=2,
        max_size=40,
    )
)
def test_the_influences_on_the_auc_have_the_auc_as_their_mean(rows: list[tuple[int, bool, float]]) -> None:
    score, positive, weight = (np.array(column) for column in zip(*rows, strict=True))
    expected = weighted_auc(score, positive, weight)
    found = auc_influence(score, positive, weight)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found @ weight / weight.sum() == pytest.approx(expected)


def test_the_influences_tell_how_far_an_auc_strays() -> None:
    """The spread of the AUC over independent samples is that which one sample's influences say."""
    random = np.random.default_rng(3)
    found, told = [], []
    for _ in range(300):
        positive = random.random(400) < 0.3
        score = random.normal(size=400) + positive
        influence = auc_influence(score, positive, np.ones(400))
        assert influence is not None
        found.append(influence.mean())
        told.append(influence.std() / 20.0)
    assert np.std(found) == pytest.approx(np.mean(told), rel=0.15)
