"""Targets in lockstep: a copy is found and counts once; chance, offline clients and one busy actor are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.intake.bursts import Events, events_of
from rheostat.streams.intake.lockstep import Lockstep
from tests.support.slow_traffic import DAY_MS, SMALL, T0_MS, month

Row = tuple[int, str, str]


def events(rows: list[Row]) -> Events:
    times, targets, actors = zip(*sorted(rows), strict=True)
    count = len(rows)
    return events_of(
        pa.array(targets, pa.string()),
        pa.array(actors, pa.string()),
        np.zeros(count, np.int32),
        np.ones(count),
        np.array(times, np.int64),
    )


def deeds(target: str, count: int, actor: str = "actor", every_ms: int = DAY_MS // 2) -> list[Row]:
    return [(T0_MS + each * every_ms, target, f"{actor}-{each}") for each in range(count)]


TWINS = deeds("old-name", 40) + deeds("new-name", 40)


def test_a_copy_under_a_second_name_is_found_and_each_deed_counts_once() -> None:
    lockstep = Lockstep(SMALL)
    steps = lockstep.score(events(TWINS))
    (alarm,) = lockstep.open_alarms()
    assert (steps.pair == alarm.number).sum() == 40
    assert steps.in_lockstep.sum() == 38  # from the third actor on
    assert alarm.steps == 40
    assert alarm.actors > 20
    assert (alarm.start_ms, alarm.end_ms) == (T0_MS, T0_MS + 39 * DAY_MS // 2 + 1)
    assert alarm.detected_ms == T0_MS + DAY_MS
    assert "40 times" in alarm.reason


def test_two_actors_are_not_enough() -> None:
    lockstep = Lockstep(SMALL)
    assert not lockstep.score(events(deeds("a", 2) + deeds("b", 2))).in_lockstep.any()


def test_one_actor_who_does_it_often_is_not_enough() -> None:
    rows = [(T0_MS + each * DAY_MS, target, "busy") for each in range(50) for target in ("a", "b")]
    assert not Lockstep(SMALL).score(events(rows)).in_lockstep.any()


def test_steps_that_are_few_among_what_both_got_are_not_enough() -> None:
    rows = [*TWINS, *deeds("old-name", 400, "other", DAY_MS // 20), *deeds("new-name", 400, "another", DAY_MS // 20)]
    assert not Lockstep(SMALL).score(events(rows)).in_lockstep.any()


def test_clients_that_send_what_they_kept_in_one_go_are_hardly_ever_in_lockstep() -> None:
    rng = np.random.default_rng(1)
    rows = [
        (T0_MS + each * 60_000, f"item-{item}", f"actor-{each}")
        for each in range(2_000)
        for item in rng.choice(200, 5, replace=False)
    ]
    assert Lockstep(SMALL).score(events(rows)).in_lockstep.mean() < 0.001


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_traffic_is_not_in_lockstep(seed: int) -> None:
    ordinary, _ = month(seed).events()
    assert not Lockstep(SMALL).score(ordinary).in_lockstep.any()


def test_what_comes_too_late_is_no_step() -> None:
    rows = deeds("a", 40) + [(time + 2_000, "b", actor) for time, _, actor in deeds("a", 40)]
    assert not Lockstep(SMALL).score(events(rows)).pair.any()
    wider = replace(SMALL, lockstep_ms=2_000)
    assert Lockstep(wider).score(events(rows)).in_lockstep.any()


def test_an_actor_without_a_name_takes_no_step() -> None:
    rows = [(time, target, "") for time, target, _ in TWINS]
    assert not Lockstep(SMALL).score(events(rows)).pair.any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, len(TWINS)), max_size=8).map(sorted))
def test_it_does_not_matter_how_events_are_cut_into_blocks(cuts: list[int]) -> None:
    all_events, whole, cut = events(TWINS), Lockstep(SMALL), Lockstep(SMALL)
    expected = whole.score(all_events)
    parts = [cut.score(all_events.take(rows)) for rows in np.split(np.arange(len(all_events)), cuts)]
    np.testing.assert_array_equal(np.concatenate([part.pair for part in parts]), expected.pair)
    np.testing.assert_array_equal(np.concatenate([part.in_lockstep for part in parts]), expected.in_lockstep)
    assert [alarm for part in parts for alarm in part.alarms] == expected.alarms
    assert cut.open_alarms() == whole.open_alarms()


def test_memory_is_fixed() -> None:
    lockstep = Lockstep(SMALL)
    before = [value.nbytes for value in vars(lockstep).values() if isinstance(value, np.ndarray)]
    rows = [(T0_MS + each, f"{side}-{each % 5_000}", f"a-{each}") for each in range(20_000) for side in "ab"]
    lockstep.score(events(rows))
    assert [value.nbytes for value in vars(lockstep).values() if isinstance(value, np.ndarray)] == before
