"""What passes from a surface to its core: the smallest gain that all periods agree on, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.consolidation import Past
from rheostat.learners.contract import Floats
from tests.unit.learners.support import ANY_SPEED

HALF = 0.5
"""What decays in a period, in these tests."""


def _run(gains: list[float], periods: int = 3) -> tuple[float, float, list[float]]:
    """Let one parameter gain so much in each period; return core, surface and what moved."""
    past, surface, core, moved = Past.none(np.zeros(1), periods), np.zeros(1), np.zeros(1), []
    for gain in gains:
        past, surface = past.decayed(HALF), surface * HALF + gain
        step, past = past.period_ended(surface, HALF)
        core, surface = core + step, surface - step
        moved.append(float(step[0]))
    return float(core[0]), float(surface[0]), moved


def test_the_core_takes_what_equal_gains_can_hold() -> None:
    core, surface, moved = _run([1.0, 0.5, 0.5])
    assert moved[:2] == [0.0, 0.0]
    assert core == pytest.approx(1.0)
    assert surface == pytest.approx(0.0)


@ANY_SPEED
@given(st.floats(0.1, 1e6), st.integers(0, 5), st.integers(1, 2), st.integers(0, 5))
def test_what_lasts_fewer_periods_leaves_nothing(size: float, before: int, lasts: int, after: int) -> None:
    core, _, _ = _run([0.0] * before + [size] * lasts + [0.0] * after)
    assert core == 0.0


@ANY_SPEED
@given(st.lists(st.floats(0.1, 10.0) | st.floats(-10.0, -0.1), min_size=3, max_size=12))
def test_the_core_moves_only_as_far_as_the_smallest_of_the_agreeing_gains(gains: list[float]) -> None:
    for period, step in enumerate(_run(gains)[2]):
        if step:
            window = np.array(gains[max(period - 2, 0) : period + 1])
            assert (np.sign(window) == np.sign(step)).all()
            assert abs(step) <= np.abs(window).min() / HALF * (1 + 1e-9)


def test_a_loud_period_among_quiet_ones_does_not_raise_what_passes() -> None:
    assert _run([0.1, 100.0, 0.1])[0] == pytest.approx(0.2)


def test_a_gain_the_other_way_ends_agreement() -> None:
    assert _run([1.0, 1.0, -0.1, 1.0, 1.0])[0] == 0.0
    assert _run([1.0, 1.0, -0.1, 1.0, 1.0, 1.0])[0] > 0.0


def test_a_silent_period_neither_adds_to_agreement_nor_ends_it() -> None:
    assert _run([1.0, 1.0, 0.0, 0.0])[0] == 0.0
    assert _run([1.0, 1.0, 0.0, 0.0, 1.0])[0] > 0.0


def test_parameters_are_judged_one_by_one() -> None:
    past: Past = Past.none(np.zeros(2), 2)
    surface: Floats = np.zeros(2)
    for gain in ([1.0, 1.0], [1.0, -1.0]):
        past, surface = past.decayed(HALF), surface * HALF + np.array(gain)
        moved, past = past.period_ended(surface, HALF)
        surface = surface - moved
    assert moved[0] > 0.0
    assert moved[1] == 0.0
