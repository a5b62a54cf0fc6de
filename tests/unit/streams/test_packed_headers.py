"""Headers as arrays say what a list of them says, also in parts and put together."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.engine.block import Headers
from rheostat.streams.engine.packed_headers import PackedHeaders, named

NAMES = st.sampled_from(["a", "b", "ab", "", "ü"])
VALUES = st.one_of(st.sampled_from([b"a", b"ab", b""]), st.binary(max_size=5))
ROWS = st.lists(st.one_of(st.none(), st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4)))


def packed(rows: list[Headers | None]) -> PackedHeaders:
    """Headers as a consumer would pack them, with some bytes in front that are none of theirs."""
    parts = [part for own in rows for name, value in own or () for part in (name.encode(), value)]
    bounds = np.array([*accumulate(map(len, parts), initial=3)], np.int64)
    data = np.frombuffer(b"---" + b"".join(parts), np.uint8)
    return PackedHeaders(data, bounds, np.array([len(own or ()) for own in rows], np.int64))


@given(ROWS)
def test_they_are_the_rows_they_were_made_of(rows: list[Headers | None]) -> None:
    found = packed(rows)
    assert len(found) == len(rows)
    assert list(found) == rows
    assert [found[at - len(rows)] for at in range(len(rows))] == rows


@given(ROWS, st.data())
def test_some_of_them_are_some_of_the_rows(rows: list[Headers | None], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(first, len(rows)))
    part = packed(rows)[first:end]
    assert list(part) == rows[first:end]
    assert list(part[1:]) == rows[first:end][1:]
    assert list(packed(rows)[::-2]) == rows[::-2]


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_several_put_together_are_all_their_rows(parts: list[list[Headers | None]]) -> None:
    whole = PackedHeaders.joined([packed(part).rows(min(1, len(part)), len(part)) for part in parts])
    assert list(whole) == [row for part in parts for row in part[1:]]


@given(ROWS, NAMES.filter(bool))
def test_all_values_of_a_name_are_found_in_order(rows: list[Headers | None], name: str) -> None:
    wanted = [value for own in rows for each, value in own or () if each == name]
    assert packed(rows).named(name) == wanted
    assert named([packed(rows)[:2], None, packed(rows)[2:]], name) == wanted
    assert named([rows], name) == wanted


@given(st.integers(0, 5))
def test_none_is_none_for_each_record(count: int) -> None:
    assert list(PackedHeaders.none(count)) == [None] * count
    assert PackedHeaders.none(count).named("a") == []
