"""A share grows or shrinks to what is worked on in the time that is set, within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.engine.share import RECORDS_FIRST, RECORDS_LEAST, Share

histories = st.lists(st.tuples(st.integers(0, 200_000), st.floats(0.0, 100.0)), max_size=9)


@pytest.mark.parametrize(("us_per_record", "expected"), [(4.0, 100_000), (8.0, 50_000), (100.0, 4_000), (9e3, 1_000)])
def test_it_settles_at_what_fits_into_the_time(us_per_record: float, expected: int) -> None:
    share = Share(records_max=100_000, work_ms=400)
    for _ in range(5):
        share.took(share.records, share.records * us_per_record / 1e6)
    assert share.records == pytest.approx(expected, rel=0.01)


@given(st.integers(1, 200_000), st.integers(0, 1_000), histories)
def test_it_stays_within_its_bounds(most: int, work_ms: int, history: list[tuple[int, float]]) -> None:
    share = Share(most, work_ms)
    for records, took_s in history:
        share.took(min(records, share.records), took_s)
        assert min(RECORDS_LEAST, most) <= share.records <= most


def test_what_was_not_full_and_quick_changes_nothing() -> None:
    share = Share(records_max=100_000, work_ms=400)
    share.took(300, 0.02)
    assert share.records == RECORDS_FIRST


def test_without_a_time_it_is_always_as_large_as_may_be() -> None:
    share = Share(records_max=100_000, work_ms=0)
    share.took(100_000, 90.0)
    assert share.records == 100_000
