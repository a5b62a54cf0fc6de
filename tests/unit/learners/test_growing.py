"""Micro-batches that grow are cut by the order of rows alone, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch
from rheostat.learners.features import no_context, select
from rheostat.learners.growing import LEAST_ROWS, GrowingBatches
from tests.unit.learners.support import ANY_SPEED, MIXED

ROWS = 600
SHARE = 4


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
    batch, whole, parts = _numbered(ROWS), GrowingBatches(MIXED, 50, SHARE), GrowingBatches(MIXED, 50, SHARE)
    expected = [*whole.add(batch), *whole.drain()]
    found: list[Batch] = []
    for start, end in zip([0, *sorted(ends)], [*sorted(ends), ROWS], strict=True):
        found += parts.add(select(batch, slice(start, end)))
    assert _labels([*found, *parts.drain()]) == _labels(expected)


def test_each_is_a_share_of_those_before_it_within_bounds_and_none_is_lost() -> None:
    growing = GrowingBatches(MIXED, 50, SHARE)
    found = _labels([*growing.add(_numbered(2_000)), *growing.drain()])
    assert [row for part in found for row in part] == list(range(2_000))
    given_out = 0
    for part in found[:-1]:
        assert len(part) == min(max(given_out // SHARE, LEAST_ROWS), 50)
        given_out += len(part)
    assert len(found[0]) == LEAST_ROWS
    assert len(found[-2]) == 50


def test_rows_given_out_before_they_filled_a_micro_batch_count() -> None:
    growing = GrowingBatches(MIXED, 500, SHARE)
    for part in (slice(0, 3), slice(3, 6)):
        list(growing.add(select(_numbered(6), part)))
        list(growing.drain())
    list(growing.add(_numbered(SHARE * 10)))
    list(growing.drain())
    assert growing.next_rows == (6 + SHARE * 10) // SHARE


def test_rows_of_weight_zero_move_no_cut() -> None:
    batch, growing, without = _numbered(300), GrowingBatches(MIXED, 50, SHARE), GrowingBatches(MIXED, 50, SHARE)
    seen = np.arange(300) % 3 > 0
    with_unseen = replace(batch, weight=np.where(seen, 1.0, 0.0))
    assert _labels([*growing.add(with_unseen)]) == _labels([*without.add(select(batch, seen))])


def test_a_restored_one_goes_on_with_the_same_cuts() -> None:
    batch, growing, restored = _numbered(400), GrowingBatches(MIXED, 50, SHARE), GrowingBatches(MIXED, 50, SHARE)
    list(growing.add(select(batch, slice(0, 203))))
    restored.restore(growing.tensors())
    rest = select(batch, slice(203, None))
    assert _labels([*restored.add(rest), *restored.drain()]) == _labels([*growing.add(rest), *growing.drain()])


def test_waiting_rows_keep_their_context_where_it_is_asked_for() -> None:
    context = replace(no_context(ROWS), action=np.arange(ROWS))
    batch, growing, without = (
        replace(_numbered(ROWS), context=context),
        GrowingBatches(MIXED, 50, SHARE, context=True),
        GrowingBatches(MIXED, 50, SHARE),
    )
    found = [*growing.add(select(batch, slice(0, 403)))]
    restored = GrowingBatches(MIXED, 50, SHARE, context=True)
    restored.restore(growing.tensors())
    found += [*restored.add(select(batch, slice(403, None))), *restored.drain()]
    actions = [each.context.action.tolist() for each in found if each.context is not None]
    assert actions == _labels(found)
    assert all(each.context is None for each in without.add(batch))


def test_micro_batches_of_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GrowingBatches(MIXED, 0, SHARE)
