"""Intake and the watch together: bursts over all partitions, corrections, restarts, releases."""

from __future__ import annotations

from collections import Counter
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.streams.conservation import read_books
from rheostat.streams.control.quarantine import Selection, decide, decided, held_events
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, Corrupt
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.watch.stage import WatchStage
from tests.support.feedback import publish_events
from tests.support.slow_traffic import DAY_MS, HOUR_MS, Traffic, month
from tests.support.watch_world import ONSET_MS, PARTITIONS, TINY, WatchWorld, attacked, launched, verdicts_hold


def test_a_burst_over_all_partitions_is_held_back_and_what_came_before_is_corrected() -> None:
    world = WatchWorld(attacked())
    world.feed_all()
    attack = {f"e{row}" for row in range(len(world.events))[-300:]}
    standing = world.standing()
    held = {entry["event_id"] for entry in world.records(catalogue.QUARANTINE)} - standing.keys()
    corrected = {each for each, keeps in standing.items() if keeps == 0.0}
    assert len((held | corrected) & attack) >= 0.95 * len(attack)
    assert len((held | corrected) - attack) <= 5
    assert len(held) > len(corrected) > 0
    assert read_books(world.broker).balanced
    reasons = {c["reasons"] for c in world.records(catalogue.CORRECTIONS)}
    assert all("never seen before" in reason and "on this target" in reason for reason in reasons)


def test_each_partition_has_every_alarm() -> None:
    world = WatchWorld(attacked())
    world.feed_all()
    log = world.broker.log()
    copies = [
        [value for block in log.read(catalogue.ALARMS, partition) for value in block.values]
        for partition in range(PARTITIONS)
    ]
    assert copies[0]
    assert copies.count(copies[0]) == PARTITIONS


@pytest.mark.parametrize("traffic", [attacked(), launched()], ids=["attack", "launch"])
def test_at_every_step_events_keep_what_the_alarms_say(traffic: Traffic) -> None:
    world = WatchWorld(traffic)
    world.feed_all(after=lambda: verdicts_hold(world), step=25)
    verdicts_hold(world)
    assert read_books(world.broker).balanced


def after_restarts(traffic: Traffic, at: set[int], readings_max: int) -> None:
    """Restart the watch after some steps, and compare with one that ran through."""
    bounds = WatchSettings(TINY, snapshot_ms=7 * DAY_MS, readings_max=readings_max)
    steps = count()
    one, other = WatchWorld(traffic, bounds), WatchWorld(traffic, bounds)

    def restart() -> None:
        if next(steps) in at:
            other.restart_watch()
            assert other.task

    one.feed_all()
    other.feed_all(after=restart)
    other.restart_watch()
    for topic in (catalogue.ALARMS, catalogue.CORRECTIONS, catalogue.QUARANTINE, catalogue.RELEASED):
        assert other.values(topic) == one.values(topic)
    assert other.task.counts == one.task.counts


@pytest.mark.parametrize("traffic", [attacked(), launched()], ids=["attack", "launch"])
def test_restarts_change_nothing(traffic: Traffic) -> None:
    after_restarts(traffic, {5, 9, 25, 26, 31}, 7)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.sets(st.integers(0, 60), max_size=6), st.integers(2, 40), st.booleans())
def test_restarts_change_nothing_wherever_they_are(seed: int, at: set[int], readings_max: int, launch: bool) -> None:
    after_restarts(launched(seed) if launch else attacked(seed), at, readings_max)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 20),
    st.booleans(),
    st.dictionaries(
        st.integers(30, 68),
        st.sampled_from(["restart intake", "restart watch", "abort", "release", "reject", "crash both"]),
        max_size=12,
    ),
)
def test_whatever_happens_every_event_has_one_fate_and_keeps_what_it_should(
    seed: int, launch: bool, what_happens: dict[int, str]
) -> None:
    bounds = WatchSettings(TINY, snapshot_ms=7 * DAY_MS, readings_max=9)
    world = WatchWorld(launched(seed) if launch else attacked(seed), bounds)
    steps = count()

    def happens() -> None:
        what = what_happens.get(next(steps))
        log = world.broker.log()
        if what == "abort":
            assert isinstance(world.broker, MemoryBroker)
            world.broker.fail_next("commit", Abortable("injected"))
        if what in ("restart intake", "crash both"):
            world.restart_intake()
        if what in ("restart watch", "crash both"):
            world.restart_watch()
        if what in ("release", "reject"):
            some = [held for held in held_events(log, Selection(0)) if int(held.event["event_id"][1:]) % 3 == 0]
            decide(world.broker, what, some, "ann", "a third", 0, world.clock.now_ms())  # type: ignore[arg-type]
        world.run()
        verdicts_hold(world)

    world.feed_all(after=happens, step=25)
    verdicts_hold(world)


def test_the_time_in_which_the_watch_does_not_run_is_not_silence() -> None:
    world = WatchWorld(attacked())
    world.feed(500)
    ledger = [TopicPartition(catalogue.LEDGER, partition) for partition in range(PARTITIONS)]
    read_to = [world.task._ends[at] for at in ledger]
    world.watch.close()
    world.clock.advance(3 * DAY_MS)
    publish_events(world.broker, catalogue.FEEDBACK_EXPLICIT, PARTITIONS, world.events_to_come(100))
    world.intake.step()
    world.restart_watch()
    task, log = world.task, world.broker.log()
    backlogs = [
        list(log.read(at.topic, at.partition, start_offset=end)) for at, end in zip(ledger, read_to, strict=True)
    ]
    waited, came = task.waiting, sum(map(len, backlogs[0]))
    assert came > 20
    task.process(backlogs[0], world.clock.now_ms())
    assert task.waiting > came - 5 + waited
    task.process(backlogs[1], world.clock.now_ms())
    assert task.waiting < 20


def test_what_was_held_by_a_false_alarm_is_released() -> None:
    world = WatchWorld(launched())
    world.feed_all()
    held = {entry["event_id"]: entry["alarm"] for entry in world.records(catalogue.QUARANTINE)}
    assert held
    assert set(held.values()) != {None}
    last = {alarm["number"]: alarm for alarm in world.records(catalogue.ALARMS)}
    false = {number for number, alarm in last.items() if alarm["keeps"] == 1.0}
    ledger = Counter(entry["event_id"] for entry in world.records(catalogue.LEDGER))
    freed = {event_id for event_id, alarm in held.items() if alarm in false}
    assert freed
    decisions = decided(world.broker.log(), 0)
    released = [each for each in held_events(world.broker.log(), Selection(0)) if str(each.place) in decisions]
    assert {each.event["event_id"] for each in released} == freed
    assert {event_id: ledger[event_id] for event_id in held} == {each: int(each in freed) for each in held}
    assert set(ledger.values()) == {1}
    assert read_books(world.broker).balanced


def test_a_person_gives_accepted_events_their_weight_back_once_and_for_good() -> None:
    world = WatchWorld(attacked())
    world.feed_all()
    zero = {each for each, keeps in world.standing().items() if keeps == 0.0}
    selection = Selection(0)
    log = world.broker.log()
    held = [each for each in held_events(log, selection) if each.place.topic == catalogue.LEDGER]
    assert {each.event["event_id"] for each in held} == zero
    assert all("never seen before" in each.event["reasons"] for each in held)
    now_ms = world.clock.now_ms()
    assert decide(world.broker, "release", held, "ann", "a launch", 0, now_ms).now == len(zero)
    assert decide(world.broker, "release", held, "ann", "a launch", 0, now_ms) == (0, len(zero))
    world.settle()
    world.restart_watch()
    world.settle()
    assert {world.standing()[each] for each in zero} == {1.0}
    assert not [each for each in held_events(log, selection) if each.place.topic == catalogue.LEDGER]
    books = read_books(world.broker)
    assert books.balanced
    assert books.total("readmitted") == len(zero) + world.task.counts["released"]
    assert books.total("duplicate") == len(zero)


def test_the_same_actors_on_two_targets_count_once() -> None:
    traffic = month(5, days=10, targets=3)
    hands = [f"hand-{each}" for each in range(12)]
    times = ONSET_MS - 3 * DAY_MS + np.arange(12) * HOUR_MS
    traffic.add("twin-a", times, hands, 1.0)
    traffic.add("twin-b", times + 400, hands, 1.0)
    world = WatchWorld(traffic)
    world.feed_all()
    corrected = [c for c in world.records(catalogue.CORRECTIONS) if c["cause"] == "lockstep"]
    alarms = [each for each in world.records(catalogue.ALARMS) if each["kind"] == "lockstep"]
    assert {(each["id"], each["other_id"]) for each in alarms} <= {("twin-a", "twin-b"), ("twin-b", "twin-a")}
    assert alarms
    assert Counter(c["target_id"] for c in corrected) == {"twin-b": 12}
    assert {c["keeps"] for c in corrected} == {0.0}


def test_a_state_that_is_gone_is_named() -> None:
    world = WatchWorld(attacked(), WatchSettings(TINY, snapshot_ms=7 * DAY_MS))
    world.feed(200)
    world.restart_watch()
    assert isinstance(world.broker, MemoryBroker)
    world.broker.delete_before(catalogue.WATCH_STATE, 0, 3)
    with pytest.raises(Corrupt, match=r"watch.state\[0\].*readings"):
        _ = world.task


def test_alarms_of_an_earlier_life_stand_and_keep_their_numbers() -> None:
    world = WatchWorld(attacked())
    world.feed_all()
    before = {alarm.number for alarm in world.task.alarms.standing()}
    log = world.broker.log()
    anew = WatchStage(world.settings).open(
        range(PARTITIONS), {TopicPartition(catalogue.LEDGER, p): Committed(None, "") for p in range(PARTITIONS)}, log, 0
    )
    blocks = [block for p in range(PARTITIONS) for block in log.read(catalogue.LEDGER, p)]
    anew.process(blocks, world.clock.now_ms())
    anew.process([], world.clock.now_ms() + 60_000)
    known = {alarm.number: alarm for alarm in anew.alarms.standing()}
    assert known.keys() > before
    assert all(known[number].over for number in before)
