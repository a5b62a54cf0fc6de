"""Micro-batches that grow are cut by the order of rows alone, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch
from rheostat.learners.features import select
from rheostat.learners.growing import SHARE, GrowingBatches
from tests.unit.learners.support import ANY_SPEED, MIXED

ROWS = 600


def _labels(batches: list[Batch]) -> list[list[float]]:
    """The micro-batches, told by their first numeric column."""
    return [each.numeric[:, 0].tolist() for each in batches]


def _numbered(rows: int) -> Batch:
    batch = toy_batch(MIXED, rows, 1)
    batch.numeric[:, 0] = np.arange(rows)
    return batch


@ANY_SPEED
@given(st.lists(st.integers(0, ROWS), max_size=6))
def test_pieces_do_not_move_cuts(ends: list[int]) -> None:
    batch, whole, parts = _numbered(ROWS), GrowingBatches(MIXED, 4, 50), GrowingBatches(MIXED, 4, 50)
    expected = [*whole.add(batch), *whole.drain()]
    found: list[Batch] = []
    for start, end in zip([0, *sorted(ends)], [*sorted(ends), ROWS], strict=True):
        found += parts.add(select(batch, slice(start, end)))
    assert _labels([*found, *parts.drain()]) == _labels(expected)


def test_each_is_a_share_of_those_before_it_within_bounds_and_none_is_lost() -> None:
    growing = GrowingBatches(MIXED, 4, 50)
    found = _labels([*growing.add(_numbered(2_000)), *growing.drain()])
    assert [row for part in found for row in part] == list(range(2_000))
    given_out = 0
    for part in found[:-1]:
        assert len(part) == min(max(given_out // SHARE, 4), 50)
        given_out += len(part)
    assert len(found[0]) == 4
    assert len(found[-2]) == 50


def test_rows_given_out_before_they_filled_a_micro_batch_count() -> None:
    growing = GrowingBatches(MIXED, 4, 500)
    for part in (slice(0, 3), slice(3, 6)):
        list(growing.add(select(_numbered(6), part)))
        list(growing.drain())
    list(growing.add(_numbered(SHARE * 10)))
    list(growing.drain())
    assert growing.next_rows == (6 + SHARE * 10) // SHARE


def test_rows_of_weight_zero_move_no_cut() -> None:
    batch, growing, without = _numbered(300), GrowingBatches(MIXED, 4, 50), GrowingBatches(MIXED, 4, 50)
    seen = np.arange(300) % 3 > 0
    with_unseen = replace(batch, weight=np.where(seen, 1.0, 0.0))
    assert _labels([*growing.add(with_unseen)]) == _labels([*without.add(select(batch, seen))])


def test_a_restored_one_goes_on_with_the_same_cuts() -> None:
    batch, growing, restored = _numbered(400), GrowingBatches(MIXED, 4, 50), GrowingBatches(MIXED, 4, 50)
    list(growing.add(select(batch, slice(0, 203))))
    restored.restore(growing.tensors())
    rest = select(batch, slice(203, None))
    assert _labels([*restored.add(rest), *restored.drain()]) == _labels([*growing.add(rest), *growing.drain()])


@pytest.mark.parametrize(("least", "most"), [(0, 5), (6, 5)])
def test_bounds_that_leave_no_size_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        GrowingBatches(MIXED, least, most)
