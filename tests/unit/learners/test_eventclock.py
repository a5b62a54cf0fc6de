"""Event time comes in ticks, one for a row at most, and never goes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.eventclock import EventClock
from tests.unit.learners.support import ANY_SPEED


def _ticks(clock: EventClock, times: list[int]) -> list[int]:
    return list(clock.ticks(np.array(times, np.int64)))


def test_a_tick_passes_before_the_row_that_reaches_it() -> None:
    clock = EventClock(10)
    assert _ticks(clock, [105, 109, 110, 111, 120]) == [2, 4]
    assert clock.tick == 12


def test_unknown_times_and_older_ones_do_not_move_it() -> None:
    clock = EventClock(10)
    assert _ticks(clock, [0, 0]) == []
    assert clock.tick is None
    assert _ticks(clock, [0, 50, 0, 20, 60, 0]) == [4]


def test_it_catches_up_a_tick_a_row() -> None:
    clock = EventClock(10)
    assert _ticks(clock, [5, 1_000, 12, 1_000, 1_000]) == [1, 3, 4]
    assert clock.tick == 3


def test_a_tick_has_a_length() -> None:
    with pytest.raises(ValueError, match="tick_ms"):
        EventClock(0)


@ANY_SPEED
@given(st.lists(st.integers(0, 200), max_size=60), st.integers(0, 60))
def test_only_the_order_of_rows_matters(times: list[int], cut: int) -> None:
    whole, parts = EventClock(7), EventClock(7)
    rows = _ticks(whole, times)
    first = _ticks(parts, times[:cut])
    second = [row + len(times[:cut]) for row in _ticks(parts, times[cut:])]
    assert (rows, whole.tick) == (first + second, parts.tick)
