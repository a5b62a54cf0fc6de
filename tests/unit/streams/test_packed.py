from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.engine.block import Block
from rheostat.streams.engine.packed import PackedBytes, packed, since
from rheostat.streams.engine.trim import skip_older

Record = tuple[bytes | None, int]
RECORDS = st.lists(st.tuples(st.none() | st.binary(max_size=20), st.integers(0, 9)), max_size=12)


def block_of(records: Sequence[Record]) -> Block:
    values, times = [value for value, _ in records], [time for _, time in records]
    return Block("topic", 0, range(len(records)), [None] * len(records), values, times)


def packed_bytes(values: Sequence[bytes | None]) -> PackedBytes:
    ends = np.cumsum([len(value or b"") for value in values], dtype=np.int64)
    absent = np.array([value is None for value in values], np.bool_)
    return PackedBytes(np.frombuffer(b"".join(value or b"" for value in values), np.uint8), ends, absent)


@given(st.lists(st.none() | st.binary(max_size=9), max_size=9), st.slices(9), st.slices(9))
def test_packed_bytes_are_the_sequence_they_were_made_of(
    values: list[bytes | None], part: slice, part_of_it: slice
) -> None:
    made = packed_bytes(values)
    assert len(made) == len(values)
    assert list(made) == values
    assert list(made[part]) == values[part]
    assert list(made[part][part_of_it]) == values[part][part_of_it]
    assert [made[at] for at in range(-len(values), len(values))] == values * 2


@given(RECORDS, st.slices(12))
def test_a_block_of_packed_values_is_packed_as_one_of_a_list(records: list[Record], part: slice) -> None:
    plain = block_of(records)
    either = [replace(plain, values=values) for values in (plain.values[part], packed_bytes(plain.values)[part])]
    of_list, of_packed = map(packed, either)
    assert of_packed.values() == of_list.values()


@given(RECORDS, st.integers(0, 12), st.integers(0, 12))
def test_rows_of_a_run_are_the_slice_of_its_values_and_times(records: list[Record], first: int, end: int) -> None:
    first, end = sorted(min(at, len(records)) for at in (first, end))
    run = packed(block_of(records)).rows(first, end)
    kept = records[first:end]
    assert run.values() == [value or b"" for value, _ in kept]
    assert run.timestamps_ms.tolist() == [time for _, time in kept]


@given(st.lists(RECORDS.filter(bool), max_size=4), st.integers(0, 10))
def test_leading_records_before_a_time_are_dropped_as_from_blocks(parts: list[list[Record]], since_ms: int) -> None:
    everything = block_of([record for part in parts for record in part])
    kept = skip_older(everything, since_ms)
    runs = list(since(map(packed, map(block_of, parts)), since_ms))
    assert [value for run in runs for value in run.values()] == [
        value or b"" for value in (kept.values if kept is not None else ())
    ]
    assert all(len(run) for run in runs)
