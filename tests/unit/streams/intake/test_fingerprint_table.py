"""The table of ids by itself: what is put in is found, whatever had to be moved or dropped on the way."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.intake.fingerprint_table import SHARES, FingerprintTable


def ids_of(low: list[int], high: list[int]) -> Fingerprints:
    return Fingerprints(np.array(low, np.uint64), np.array(high, np.uint64))


halves = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 3).map(lambda n: n << 32), st.just(2**64 - 1))


@given(st.lists(st.tuples(halves, halves), unique_by=lambda half: (half[0], half[1] >> 32), max_size=300), st.data())
def test_finds_just_what_was_put_in_under_a_number_that_counts(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    table, count = FingerprintTable(1_000), data.draw(st.integers(0, len(pairs)))
    for number, (low, high) in enumerate(pairs[:count], 1):
        table.put(ids_of([low], [high]), number, 1)
    oldest = data.draw(st.integers(1, count + 1))
    found = table.contains(ids_of([low for low, _ in pairs], [high for _, high in pairs]), oldest)
    assert found.tolist() == [oldest <= number <= count for number in range(1, len(pairs) + 1)]


def test_one_bit_of_96_makes_another_id() -> None:
    table, one = FingerprintTable(1_000), (0x0123456789ABCDEF, 0xFEDCBA9876543210)
    table.put(ids_of([one[0]], [one[1]]), 1, 1)
    others = [(one[0] ^ 1 << bit, one[1]) for bit in range(64)] + [(one[0], one[1] ^ 1 << bit) for bit in range(32, 64)]
    assert not table.contains(ids_of([low for low, _ in others], [high for _, high in others]), 1).any()


def test_ids_made_to_crowd_one_share_push_out_the_older_half_of_it_and_nothing_breaks() -> None:
    table, oldest, count = FingerprintTable(10_000), 1, 5_000
    low = np.random.default_rng(0).integers(0, 2**58, count, np.uint64) * np.uint64(SHARES)
    ids = Fingerprints(low, low)
    for number in range(1, count + 1, 100):
        some = slice(number - 1, number + 99)
        oldest = table.put(Fingerprints(low[some], low[some]), number, oldest)
    assert 1 < oldest < count
    assert table.contains(ids, oldest).tolist() == [number >= oldest for number in range(1, count + 1)]


def test_it_grows_where_it_is_and_no_call_moves_much_of_it() -> None:
    table, random = FingerprintTable(10_000_000), np.random.default_rng(0)
    largest = 0
    for number in range(1, 400_000, 1_000):
        before = table.nbytes
        table.put(Fingerprints(*random.integers(0, 2**64, (2, 1_000), np.uint64)), number, 1)
        largest = max(largest, table.nbytes - before) if number > 100_000 else 0
    assert 0 < largest < table.nbytes / 40
