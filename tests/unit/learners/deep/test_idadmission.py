"""`IdTable`: who has a row of his own, told by a plain model of it; and within how many bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.idadmission import NEVER, IdTable
from rheostat.learners.idtable import BUCKET_FACTOR, WAYS, Ids, IdSettings, bucket_shift, own_rows
from tests.unit.learners.support import ANY_SPEED

EXACT = IdSettings(rows_bits=4, admit_after=2, expire_after_rows=30, sketch_bits=16)
"""So few ids are counted without error: none of them shares all its counters with others."""


def hashes(numbers: list[int]) -> Ids:
    """Return spread ids; 0 stays a missing value."""
    return np.array(numbers, np.uint64) * np.uint64(0x9E3779B97F4A7C15)


class Plain:
    """The same rules, one id after the other, with dictionaries."""

    def __init__(self, settings: IdSettings) -> None:
        self._settings = settings
        self._counts: Counter[int] = Counter()
        self._buckets = [[(NEVER, 0)] * WAYS for _ in range(settings.rows // WAYS)]

    def see(self, value: int, now: int) -> int:
        """Return the id's row, -1 for none."""
        if value == 0:
            return -1
        product = value * int(BUCKET_FACTOR) % (1 << 64)
        number = (product >> 1) >> bucket_shift(self._settings.rows)
        bucket = self._buckets[number]
        way = next((way for way, (_, key) in enumerate(bucket) if key == value), None)
        if way is None:
            self._counts[value] += 1
            way = min(range(WAYS), key=lambda each: (bucket[each][0], each))
            expired = now - bucket[way][0] > self._settings.expire_after_rows
            if self._counts[value] < self._settings.admit_after or not expired:
                return -1
        bucket[way] = (now, value)
        return number * WAYS + way


steps = st.lists(st.tuples(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 20)), max_size=60)


@ANY_SPEED
@given(steps, st.integers(1, 3))
def test_rows_are_given_and_lost_as_in_a_plain_model(given_ids: list[tuple[list[int], int]], admit_after: int) -> None:
    settings = replace(EXACT, admit_after=admit_after)
    table, plain, now = IdTable(settings), Plain(settings), 0
    for numbers, later in given_ids:
        now += later
        ids = hashes(numbers)
        before = table.keys.copy()
        rows, given_rows = table.see(ids, now)
        assert rows.tolist() == [plain.see(int(each), now) for each in ids]
        assert given_rows.tolist() == np.flatnonzero(table.keys != before).tolist()
        assert table.touched().tolist() == given_rows.tolist()
        # What serving finds is what was learned with, but for an id that got its row only later in these.
        assert (own_rows(table.keys, ids)[rows >= 0] == rows[rows >= 0]).all()
        keys = table.keys[table.keys != 0]
        assert len(np.unique(keys)) == len(keys)


@ANY_SPEED
@given(steps, st.integers(0, 60))
def test_pieces_and_restarts_change_nothing(given_ids: list[tuple[list[int], int]], cut: int) -> None:
    whole, parts, now = IdTable(EXACT), IdTable(EXACT), 0
    for number, (numbers, later) in enumerate(given_ids):
        now += later
        ids = hashes(numbers)
        rows, _ = whole.see(ids, now)
        if number == cut:
            fresh = IdTable(EXACT)
            fresh.restore(parts.tensors())
            parts = fresh
        pieces = [parts.see(piece, now)[0] for piece in np.split(ids, [len(ids) // 2])]
        assert np.concatenate(pieces).tolist() == rows.tolist()
    assert all(np.array_equal(each, parts.tensors()[name]) for name, each in whole.tensors().items())


def test_time_never_goes_back() -> None:
    table = IdTable(replace(EXACT, admit_after=1))
    table.see(hashes([1]), 1_000)
    _, given_rows = table.see(hashes(list(range(2, 200))), 5)
    assert len(given_rows) == EXACT.rows - 1


def test_hardly_any_new_id_is_taken_for_one_that_came_back() -> None:
    settings = IdSettings(rows_bits=16, admit_after=2, sketch_bits=14)
    table, random = IdTable(settings), np.random.default_rng(1)
    given_rows = sum(
        len(table.see(random.integers(1, 1 << 63, 1_000, np.uint64), number * 1_000)[1]) for number in range(200)
    )
    assert given_rows < 200_000 * 0.004


def test_an_id_is_forgotten_when_an_eighth_of_the_sketch_came_after_it_and_not_much_sooner() -> None:
    settings = IdSettings(rows_bits=16, admit_after=2, sketch_bits=14)
    table, random = IdTable(settings), np.random.default_rng(1)
    for later, least, most in ((100, 0.9, 1.0), (1 << 11, 0.0, 0.01)):
        known = []
        for _ in range(200):
            ids = random.integers(1, 1 << 63, later + 1, np.uint64)
            table.see(ids, 0)
            known.append(len(table.see(ids[:1], 0)[1]))
        assert least <= np.mean(known) <= most


def test_ids_that_are_all_in_use_keep_newcomers_out() -> None:
    table = IdTable(replace(EXACT, admit_after=1))
    first, _ = table.see(hashes(list(range(1, 100))), 0)
    _, given_rows = table.see(hashes(list(range(100, 200))), EXACT.expire_after_rows)
    assert (first >= 0).sum() == EXACT.rows
    assert len(given_rows) == 0
    _, given_rows = table.see(hashes(list(range(200, 300))), EXACT.expire_after_rows + 1)
    assert len(given_rows) == EXACT.rows


def test_the_bytes_are_those_that_are_told() -> None:
    table = IdTable(EXACT)
    table.see(hashes(list(range(1_000))), 0)
    held = sum(tensor.nbytes for tensor in table.tensors().values())
    # Besides: one mark a row, and three single numbers.
    assert EXACT.memory_bytes == held + EXACT.rows - 16


@pytest.mark.parametrize(
    "settings",
    [
        {"rows_bits": 2},
        {"rows_bits": 27},
        {"sketch_bits": 3},
        {"admit_after": 0},
        {"admit_after": 256},
        {"expire_after_rows": 0},
        {"expire_after_ms": 0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(EXACT, **settings)


def test_a_state_of_other_settings_is_refused() -> None:
    table, other = IdTable(EXACT), IdTable(replace(EXACT, rows_bits=5))
    with pytest.raises(ValueError, match=r"ids\.keys"):
        table.restore(other.tensors())
