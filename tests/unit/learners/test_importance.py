"""Importance-weighted means are what their definitions say, add up, can be taken back, and their intervals hold."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.importance import Moments, half_width, importance_weights

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 4.0]), st.sampled_from([0.0, 0.25, 1.0])), max_size=20)


def _of(of: list[tuple[float, float]]) -> Moments:
    weight, value = np.array(of).reshape(-1, 2).T
    return Moments.of(weight, value)


def test_four_rows_by_hand() -> None:
    found = Moments.of(np.array([2.0, 0.5, 1.0, 4.0]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert found.ips() == 1.75
    assert found.mean == pytest.approx(0.93333, abs=1e-5)
    assert found.effective_rows == pytest.approx(2.64706, abs=1e-5)


def test_weights_stop_at_the_floor_and_what_was_not_logged_has_none() -> None:
    found = importance_weights(np.array([0.5, 0.01, np.nan]), np.array([1.0, 2.0, 3.0]), floor=0.1)
    assert found.tolist() == [2.0, 20.0, 0.0]
    with pytest.raises(ValueError, match="floor"):
        importance_weights(np.ones(1), np.ones(1), floor=0.0)


@given(rows, rows)
def test_sums_add_up_and_rows_can_be_taken_back(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    both = _of(first) + _of(second)
    assert astuple(both) == astuple(_of(first + second))
    left = both - _of(second)
    assert astuple(left)[:-1] == astuple(_of(first))[:-1]


def _coverage(self_normalised: bool) -> float:
    """Share of 200 runs in which the interval has the mean of rewards that depend on what was rarely chosen."""
    truth = 0.5 * 0.1 + 0.5 * 0.6
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        rare = random.random(400) < 0.1
        propensity = np.where(rare, 0.1, 0.9)
        reward = (random.random(400) < np.where(rare, 0.6, 0.1)).astype(np.float64)
        found = Moments.of(0.5 * importance_weights(propensity, np.ones(400), 0.01), reward)
        interval = found.interval() if self_normalised else found.ips_interval(rows=400)
        assert interval is not None
        covered += interval.covers(truth)
    return covered / 200


@pytest.mark.parametrize("self_normalised", [True, False])
def test_intervals_hold_the_truth_as_often_as_they_say(self_normalised: bool) -> None:
    assert _coverage(self_normalised) >= 0.95


def test_an_interval_shrinks_with_rows_and_has_the_mean() -> None:
    random = np.random.default_rng(1)
    widths = []
    for count in (100, 1_000, 10_000):
        found = Moments.of(np.ones(count), (random.random(count) < 0.3).astype(np.float64))
        interval = found.interval()
        assert interval is not None
        assert found.mean is not None
        assert interval.covers(found.mean)
        widths.append(interval.high - interval.low)
    assert widths[0] > 2.0 * widths[1] > 4.0 * widths[2]


def test_there_is_no_interval_without_rows() -> None:
    assert Moments().interval() is None
    assert Moments().mean is None
    assert Moments().ips_interval() is None
    with pytest.raises(ValueError, match="level"):
        half_width(2, 1.0, 1.0, 1.0, 1.0)
