from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.intake import deduplicate
from rheostat.streams.intake.deduplicate import Deduplicator, repeated
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints

WINDOW_MS = 100
STEPPED_WINDOW_MS = 7 * 4_096
"""A window whose stamps are kept by steps of 7 ms."""

pa.array([""])  # pyarrow's first conversion imports pandas: not within a test that is timed


class Model:
    """The rule, written down as plainly as possible: what was written, with its stamp, in order."""

    def __init__(self, window_ms: int, ids_max: int) -> None:
        self.written: list[tuple[str, int]] = []
        self.window_ms = window_ms
        self.step_ms = max(1, window_ms // 4_096)
        self.ids_max = ids_max

    def fresh(self, block: list[tuple[str, int]]) -> list[tuple[str, int]]:
        watermark = self.written[-1][1] if self.written else 0
        first_step = (watermark - self.window_ms) // self.step_ms
        known = {name for name, stamp in self.written[-self.ids_max :] if stamp // self.step_ms >= first_step}
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


names = st.integers(0, 30).map(lambda n: f"id-{n}" * (1 + n % 4))
rules = st.tuples(st.sampled_from([WINDOW_MS, STEPPED_WINDOW_MS]), st.sampled_from([1, 3, 8, 1000]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[list[tuple[str, int]]]]:
    """A window, a bound and blocks of events whose times go over the window's edge and stand close to it."""
    window_ms, ids_max = draw(rules)
    around = st.sampled_from([0, window_ms, 2 * window_ms, 3 * window_ms])
    times = st.one_of(
        st.integers(0, 4 * window_ms), st.builds(lambda at, by: max(0, at + by), around, st.integers(-9, 9))
    )
    return window_ms, ids_max, draw(st.lists(st.lists(st.tuples(names, times), max_size=25), max_size=20))


@given(histories())
def test_keeps_exactly_what_the_rule_says(given: tuple[int, int, list[list[tuple[str, int]]]]) -> None:
    window_ms, ids_max, history = given
    dedup, model = Deduplicator(window_ms, ids_max), Model(window_ms, ids_max)
    for block in history:
        assert feed(dedup, block) == model.fresh(block)


@given(histories(), st.integers(0, 20))
def test_folding_the_tail_of_the_output_restores_it(
    given: tuple[int, int, list[list[tuple[str, int]]]], cut: int
) -> None:
    window_ms, ids_max, history = given
    whole = Deduplicator(window_ms, ids_max)
    written = [row for block in history[:cut] for row in feed(whole, block)]
    restored = Deduplicator(window_ms, ids_max)
    if whole.watermark_ms is not None:
        since_ms = whole.tail_ms(whole.watermark_ms)
        first = next(row for row, (_, time_ms) in enumerate(written) if time_ms >= since_ms)
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


def test_many_blocks_fill_it_and_push_out_the_oldest() -> None:
    dedup, expected = Deduplicator(WINDOW_MS, 50_000), 0
    for number in range(60):
        block = [(f"event-{number}-{i}", number) for i in range(3_000)]
        assert len(feed(dedup, block)) == 3_000
        repeats = block[::7]
        assert feed(dedup, repeats) == []
        expected += 3_000
    assert len(dedup) == 50_000
    assert dedup.take_evicted() == expected - 50_000


def test_takes_at_most_24_bytes_an_id_while_it_grows_and_while_ids_come_and_go() -> None:
    events_per_ms, window_ms, ids_max = 4, 50_000, 10_000_000
    dedup = Deduplicator(window_ms, ids_max)
    assert dedup.nbytes < 150_000
    most = 0.0
    for start in range(0, 600_000, 5_000):
        dedup.remember(random_ids(start, 5_000), np.arange(start, start + 5_000) // events_per_ms)
        if len(dedup) >= 100_000:
            most = max(most, dedup.nbytes / len(dedup))
    assert len(dedup) == pytest.approx(events_per_ms * window_ms, rel=0.01)
    assert 16 < most <= 24


def test_stamps_take_at_most_64_kb_however_slowly_ids_come() -> None:
    dedup = Deduplicator(86_400_000, 10_000_000)
    for start in range(0, 100_000, 5_000):
        dedup.remember(random_ids(start, 5_000), np.arange(start, start + 5_000) * 5_000)
    assert len(dedup) == pytest.approx(86_400_000 / 5_000, rel=0.01)
    assert dedup.nbytes <= max(24 * len(dedup), 165_000) + 65_536


def test_counting_from_one_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplicate, "NUMBER_MAX", 20_000)
    dedup, model = Deduplicator(WINDOW_MS, 700), Model(WINDOW_MS, 700)
    for number in range(120):
        block = [(f"event-{(number * 431 + i * 7) % 1_500}", number * 30 + i // 20) for i in range(500)]
        assert feed(dedup, block) == model.fresh(block)


def random_ids(start: int, count: int) -> Fingerprints:
    low, high = np.random.default_rng(start).integers(0, 2**64, (2, count), np.uint64)
    return Fingerprints(low, high)


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


@pytest.mark.parametrize(("window_ms", "step_ms"), [(WINDOW_MS, 1), (STEPPED_WINDOW_MS, 7)])
def test_an_id_is_known_to_the_end_of_the_step_that_the_window_ends_in(window_ms: int, step_ms: int) -> None:
    start_ms = 1_000 * step_ms + step_ms - 1  # the last moment of a step
    for later_ms, known in ((window_ms, True), (window_ms + 1, False), (window_ms - step_ms, True)):
        dedup = Deduplicator(window_ms, 1_000)
        feed(dedup, [("old", start_ms), ("now", start_ms + later_ms)])
        assert feed(dedup, [("old", start_ms)]) == ([] if known else [("old", start_ms)])
    early_ms = start_ms - step_ms + 1  # the first moment of the same step is known as long
    dedup = Deduplicator(window_ms, 1_000)
    feed(dedup, [("old", early_ms), ("now", start_ms + window_ms)])
    assert feed(dedup, [("old", early_ms)]) == []
    assert dedup.tail_ms(start_ms + window_ms) == early_ms
