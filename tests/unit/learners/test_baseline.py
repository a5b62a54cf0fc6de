"""The baseline: an honest bound, lowered freely and raised only after a long healthy run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.baseline import Baseline, BaselineRule, interrupted, observe_reference, upper_bound
from rheostat.learners.contract import Floats
from tests.unit.learners.support import ANY_SPEED

RULE = BaselineRule(reference_events=100, renew_events=1_000, delta=0.01, margin=0.02)


def _after(baseline: Baseline, losses: Floats) -> Baseline:
    return observe_reference(RULE, baseline, len(losses), float(losses.sum()), float((losses**2).sum()))


def test_the_bound_by_hand() -> None:
    # mean 0.25, variance 0.25 * 0.75 * 100 / 99 = 0.189394, ln 200 = 5.298317
    assert upper_bound(100, 25.0, 25.0, 0.01) == pytest.approx(0.25 + 0.141665 + 0.124876, abs=1e-5)


@pytest.mark.parametrize("mean", [0.02, 0.2, 0.5])
def test_the_mean_is_seldom_above_the_bound(mean: float) -> None:
    random = np.random.default_rng(6)
    sums = (random.random((3_000, 200)) < mean).sum(axis=1)
    misses = sum(upper_bound(200, float(total), float(total), 0.05) < mean for total in sums)
    assert misses <= 0.05 * 3_000


def test_there_is_no_bound_before_the_reference_is_complete() -> None:
    short = _after(Baseline(), np.full(99, 0.1))
    assert short.m0 is None
    assert _after(short, np.full(1, 0.1)).m0 == pytest.approx(upper_bound(100, 10.0, 1.0, 0.01) + 0.02)


def test_the_bound_falls_at_once_and_rises_only_after_a_healthy_run() -> None:
    first = _after(Baseline(), np.full(100, 0.3))
    lower = _after(first, np.full(100, 0.1))
    assert first.m0 is not None
    assert lower.m0 is not None
    assert lower.m0 < first.m0
    now = lower
    for _ in range(9):
        now = _after(now, np.full(100, 0.2))
        assert now.m0 == lower.m0
    assert _after(now, np.full(100, 0.2)).m0 == pytest.approx(lower.m0 + 0.1)


def test_an_alarm_interrupts_the_healthy_run() -> None:
    now = _after(Baseline(), np.full(100, 0.1))
    bound = now.m0
    for _ in range(9):
        now = _after(now, np.full(100, 0.5))
    now = interrupted(now)
    assert now == Baseline(m0=bound)
    assert _after(now, np.full(100, 0.5)).m0 == bound


@ANY_SPEED
@given(st.lists(st.lists(st.floats(0.0, 1.0), max_size=60), max_size=20))
def test_state_survives_json_and_the_bound_is_one_a_detector_takes(blocks: list[list[float]]) -> None:
    now = Baseline()
    for block in blocks:
        now = _after(now, np.array(block))
        assert Baseline.from_json(json.loads(json.dumps(now.to_json()))) == now
        assert now.m0 is None or 0.0 < now.m0 < 1.0


@pytest.mark.parametrize(("count", "total", "squares"), [(-1, 0.0, 0.0), (2, 3.0, 1.0), (2, 1.0, 1.5), (2, 1.0, -0.5)])
def test_impossible_sums_are_refused(count: int, total: float, squares: float) -> None:
    with pytest.raises(ValueError, match="cannot have the sums"):
        observe_reference(RULE, Baseline(), count, total, squares)


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="reference_events"):
        BaselineRule(reference_events=100, renew_events=50)
    with pytest.raises(ValueError, match="delta"):
        BaselineRule(delta=0.0)
