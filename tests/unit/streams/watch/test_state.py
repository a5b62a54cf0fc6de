"""What the watch keeps comes back as it was, and what is not there is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.errors import Corrupt
from rheostat.streams.watch.state import Again, Reading, Run, kept, packed, reading_record, snapshot_records, unpacked
from tests.support.watch_rows import entries_block, entry
from tests.support.written_log import WrittenLog

TABLES = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(4, [("x", "u8"), ("y", "f8")]), "c": np.zeros((0, 2), "i4")}


def test_tables_are_filled_as_they_were() -> None:
    TABLES["b"]["x"] = [1, 2**64 - 1, 3, 4]
    empty = {name: np.zeros_like(table) for name, table in TABLES.items()}
    assert unpacked(packed(TABLES, {"waiting": [1]}), empty) == {"waiting": [1]}
    assert all(np.array_equal(empty[name], table) for name, table in TABLES.items())


def test_tables_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="were the bounds of the watch changed"):
        unpacked(packed(TABLES, None), {**TABLES, "a": np.zeros((3, 2))})


def test_a_snapshot_larger_than_a_record_comes_back_whole() -> None:
    big = {"noise": np.random.default_rng(1).integers(0, 2**60, 400_000)}
    log = WrittenLog()
    for out in (snapshot_records(4, big, [], 0), reading_record(4, 0, [entries_block([entry("e", 1)])], 7, 9)):
        assert max(len(value or b"") for value in out.values) < 1 << 20
        log.append(out.topic, out.keys, out.values, out.timestamps_ms)
    found = kept(log, 4, 1)
    again = {"noise": np.zeros_like(big["noise"])}
    unpacked(found.snapshot, again)
    assert np.array_equal(again["noise"], big["noise"])
    assert found.readings == [Reading(7, [Run("feedback.ledger", 0, 0, 1)])]
    assert kept(log, 4, 0).readings == []
    with pytest.raises(Corrupt, match="1 of 2 readings"):
        kept(log, 4, 2)
    with pytest.raises(Corrupt, match="snapshot 5 has 0 of 0 chunks"):
        kept(log, 5, 0)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_what_was_read_is_read_again_in_the_same_cuts(sizes: list[int]) -> None:
    log = WrittenLog()
    entries = [entry(f"e{row}", row) for row in range(sum(sizes))]
    block = entries_block(entries)
    for row in range(len(block)):
        log.append("feedback.ledger", [block.keys[row]], [block.values[row]], [block.timestamps_ms[row]])
    offsets = [offset for each in log.blocks["feedback.ledger"] for offset in each.offsets]
    starts = np.cumsum([0, *sizes])
    readings = [
        Reading(0, [Run("feedback.ledger", 0, offsets[first], offsets[end - 1] + 1)])
        for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    again = Again(log, readings)
    cuts = [[offset for found in again.blocks(reading) for offset in found.offsets] for reading in readings]
    assert [len(cut) for cut in cuts] == sizes
    assert [offset for cut in cuts for offset in cut] == offsets


def test_what_is_gone_is_named() -> None:
    log = WrittenLog()
    log.append("feedback.ledger", [b"k"], [b"v"], [0])
    reading = Reading(0, [Run("feedback.ledger", 0, 0, 3)])
    with pytest.raises(Corrupt, match=r"feedback.ledger\[0\]: offsets 0 to 3 were read, and are gone"):
        Again(log, [reading]).blocks(reading)
