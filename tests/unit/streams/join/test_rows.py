"""Waiting rows against a plain dict, over random histories."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.join import rows as rows_module
from rheostat.streams.join.rows import Rows

SCHEMA = pa.schema([pa.field("x", pa.int64())])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(0, 50), max_size=9)),
        st.tuples(st.just("drop"), st.lists(st.integers(0, 1000), max_size=9)),
        st.tuples(st.just("mark"), st.lists(st.integers(0, 1000), max_size=4)),
    ),
    max_size=30,
)


def rows_of(times: list[int], first: int) -> tuple[pa.RecordBatch, np.ndarray, np.ndarray]:
    numbers = list(range(first, first + len(times)))
    keys = np.array([f"k{number}" for number in numbers], object)
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64())], schema=SCHEMA), keys, np.array(times, np.int64)


@settings(deadline=None)
@given(steps=STEPS, horizon=st.integers(0, 50))
def test_rows_behave_like_a_dict(steps: list[tuple[str, list[int]]], horizon: int) -> None:
    rows = Rows(SCHEMA)
    model: dict[int, tuple[int, bool]] = {}
    added = 0
    for what, given_ in steps:
        if what == "append":
            serials = rows.append(*rows_of(given_, added))
            model |= {serial: (time, False) for serial, time in zip(serials.tolist(), given_, strict=True)}
            added += len(given_)
        else:
            live = sorted(model)
            chosen = np.array(sorted({live[each % len(live)] for each in given_} if live else []), np.int64)
            if what == "drop":
                rows.drop(chosen)
                model = {serial: row for serial, row in model.items() if serial not in chosen}
            else:
                rows.mark(chosen)
                model |= {serial: (model[serial][0], True) for serial in chosen.tolist()}
        assert len(rows) == len(model)
    everything = np.array(sorted(model, reverse=True), np.int64)
    assert rows.waiting().tolist() == sorted(model)
    assert rows.take(everything).column("x").to_pylist() == everything.tolist()
    assert rows.keys(everything) == [f"k{serial}" for serial in everything]
    assert rows.times(everything).tolist() == [model[serial][0] for serial in everything.tolist()]
    assert rows.marked(everything).tolist() == [model[serial][1] for serial in everything.tolist()]
    assert rows.through(horizon).tolist() == [serial for serial in sorted(model) if model[serial][0] <= horizon]
    for count in range(1, len(model) + 1):
        assert rows.oldest(count) == sorted(time for time, _ in model.values())[count - 1]


def test_many_small_appends_make_few_chunks() -> None:
    rows = Rows(SCHEMA)
    for number in range(5_000):
        rows.append(*rows_of([number], number))
    assert len(rows._chunks) < 20
    assert rows.take(rows.waiting()).column("x").to_pylist() == list(range(5_000))


def test_memory_of_dropped_rows_is_freed_chunk_by_chunk() -> None:
    rows = Rows(SCHEMA)
    size = rows_module.CHUNK_ROWS
    first, second = (rows.append(*rows_of([0] * size, start)) for start in (0, size))
    rows.drop(first)
    assert rows.held == size
    rows.drop(second)
    assert rows.held == 0
