from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.intake.deduplicate import Deduplicator, repeated
from rheostat.streams.intake.fingerprint import fingerprints

WINDOW_MS = 100


class Model:
    """The rule, written down as plainly as possible: what was written, with its stamp, in order."""

    def __init__(self, ids_max: int) -> None:
        self.written: list[tuple[str, int]] = []
        self.ids_max = ids_max

    def fresh(self, block: list[tuple[str, int]]) -> list[tuple[str, int]]:
        watermark = self.written[-1][1] if self.written else 0
        known = {name for name, stamp in self.written[-self.ids_max :] if watermark - stamp <= WINDOW_MS}
        fresh = []
        for name, time_ms in block:
            if name not in known:
                known.add(name)
                fresh.append((name, time_ms))
        for name, time_ms in fresh:
            watermark = max(watermark, time_ms)
            self.written.append((name, watermark))
        return fresh


def feed(dedup: Deduplicator, block: list[tuple[str, int]]) -> list[tuple[str, int]]:
    ids = fingerprints(pa.array([name for name, _ in block], pa.string()))
    times = np.array([time_ms for _, time_ms in block], np.int64)
    fresh = np.flatnonzero(~(dedup.seen(ids) | repeated(ids)))
    dedup.remember(ids.take(fresh), times[fresh])
    return [block[row] for row in fresh.tolist()]


rows = st.tuples(st.integers(0, 30).map(lambda n: f"id-{n}" * (1 + n % 4)), st.integers(0, 400))
histories = st.lists(st.lists(rows, max_size=25), max_size=20)


@given(histories, st.sampled_from([1, 3, 8, 1000]))
def test_keeps_exactly_what_the_rule_says(history: list[list[tuple[str, int]]], ids_max: int) -> None:
    dedup, model = Deduplicator(WINDOW_MS, ids_max), Model(ids_max)
    for block in history:
        assert feed(dedup, block) == model.fresh(block)


@given(histories, st.sampled_from([1, 3, 8, 1000]), st.integers(0, 20))
def test_folding_the_tail_of_the_output_restores_it(
    history: list[list[tuple[str, int]]], ids_max: int, cut: int
) -> None:
    whole = Deduplicator(WINDOW_MS, ids_max)
    written = [row for block in history[:cut] for row in feed(whole, block)]
    restored = Deduplicator(WINDOW_MS, ids_max)
    if whole.watermark_ms is not None:
        horizon = whole.watermark_ms - WINDOW_MS
        first = next(row for row, (_, time_ms) in enumerate(written) if time_ms >= horizon)
        tail = written[first:]
        ids = fingerprints(pa.array([name for name, _ in tail], pa.string()))
        restored.remember(ids, np.array([time_ms for _, time_ms in tail], np.int64))
    assert restored.watermark_ms == whole.watermark_ms
    for block in history[cut:]:
        assert feed(restored, block) == feed(whole, block)


def test_a_late_event_is_remembered_although_it_is_older_than_the_window() -> None:
    dedup = Deduplicator(WINDOW_MS, 1000)
    feed(dedup, [("now", 10_000)])
    assert feed(dedup, [("late", 5)]) == [("late", 5)]
    assert feed(dedup, [("late", 5)]) == []


def test_evictions_are_counted_only_while_the_id_still_counts() -> None:
    dedup = Deduplicator(WINDOW_MS, 4)
    feed(dedup, [(f"a{i}", 0) for i in range(6)])
    assert dedup.take_evicted() == 2
    feed(dedup, [(f"b{i}", 10_000) for i in range(1)])
    feed(dedup, [(f"c{i}", 10_000) for i in range(3)])
    assert dedup.take_evicted() == 0
    assert dedup.take_evicted() == 0


def test_many_blocks_grow_and_turn_the_ring() -> None:
    dedup, expected = Deduplicator(WINDOW_MS, 50_000), 0
    for number in range(60):
        block = [(f"event-{number}-{i}", number) for i in range(3_000)]
        assert len(feed(dedup, block)) == 3_000
        repeats = block[::7]
        assert feed(dedup, repeats) == []
        expected += 3_000
    assert len(dedup) == 50_000
    assert dedup.take_evicted() == expected - 50_000


@given(st.lists(st.text(max_size=40)), st.integers(0, 5), st.integers(0, 5))
def test_fingerprints_are_equal_just_for_equal_strings(texts: list[str], start: int, cut: int) -> None:
    column = pa.array(["x" * start, *texts, *texts], pa.string())[1 : 1 + 2 * len(texts) - cut]
    found = fingerprints(column)
    pairs = list(zip(found.low.tolist(), found.high.tolist(), strict=True))
    assert len(set(pairs)) == len(set(column.to_pylist()))
    by_text = dict(zip(column.to_pylist(), pairs, strict=True))
    assert [by_text[text] for text in column.to_pylist()] == pairs


@pytest.mark.parametrize("length", [1, 7, 8, 9, 32, 36])
def test_halves_of_fingerprints_do_not_collide_on_counters(length: int) -> None:
    texts = pa.array([str(n).zfill(length)[-length:] for n in range(20_000 if length > 4 else 10)])
    found = fingerprints(texts)
    assert len(np.unique(found.low)) == len(texts)
    assert len(np.unique(found.high)) == len(texts)
