"""What people decide about dead letters and quarantined events happens once, however often it is ordered."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record, encode_record
from rheostat.streams.clock import ManualClock
from rheostat.streams.conservation import read_books
from rheostat.streams.control import deadletters, quarantine
from rheostat.streams.control.deadletters import Condition
from rheostat.streams.control.once import Act, Order, perform
from rheostat.streams.control.quarantine import Selection
from rheostat.streams.engine.block import Place
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, ConfigError, Fenced
from rheostat.streams.intake.released import REASON
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.provision import create_topics
from tests.support.feedback import KEY, NOW_MS, event, publish_events

PARTITIONS = 2
DAY_MS = 86_400_000
BURSTS = BurstSettings(events_min=5, downweight_at=0.3, quarantine_at=0.4, targets_max=1 << 14, actors_max=1 << 14)


class World:
    """One worker of intake, and people."""

    def __init__(self, **given: Any) -> None:
        self.clock = ManualClock(NOW_MS)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, PARTITIONS, 1)
        self.start(**given)

    def start(self, **given: Any) -> None:
        limits = LoopLimits(records_max=100_000, poll_timeout_ms=0, interval_ms=0)
        stage = IntakeStage(IntakeSettings(KEY, bursts=BURSTS, **given))
        self.loop = StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits)

    def restart(self, **given: Any) -> None:
        self.loop.close()
        self.start(**given)

    def send(self, events: list[dict[str, Any]]) -> None:
        publish_events(self.broker, catalogue.FEEDBACK_EXPLICIT, PARTITIONS, events)
        self.drain()

    def drain(self) -> None:
        for _ in range(6):
            self.loop.step()
        assert read_books(self.broker).balanced

    def read(self, topic: str) -> list[tuple[dict[str, Any], int]]:
        log = self.broker.log()
        return [
            (decode_record(topic, value), at_ms)
            for number in range(log.partitions(topic))
            for block in log.read(topic, number)
            for value, at_ms in zip(block.values, block.timestamps_ms, strict=True)
        ]

    def ids(self, topic: str) -> Counter[str]:
        return Counter(record["event_id"] for record, _ in self.read(topic))

    def decide(self, verb: quarantine.Verb, **chosen: Any) -> tuple[int, int]:
        found = quarantine.held_events(self.broker.log(), Selection(0, **chosen))
        return quarantine.decide(self.broker, verb, found, "ann", "a launch", 0, self.clock.now_ms())


def attacked(**given: Any) -> World:
    """A world with some fifty events of a brigade on one target in quarantine."""
    world = World(**given)
    calm = [
        event(f"calm-{i}", subject_id=f"u{i % 50}", target_id=f"t{i % 997}", occurred_at=NOW_MS - 100_000 + 30 * i)
        for i in range(3_000)
    ]
    bad: dict[str, Any] = {"prediction_id": "p", "value": 0.0, "certainty": 0.5}
    brigade = [
        event(f"b{i}", subject_id=f"new-{i}", target_id="victim", **bad, occurred_at=NOW_MS + i) for i in range(100)
    ]
    world.send(calm)
    world.send(brigade)
    assert sum(world.ids(catalogue.QUARANTINE).values()) > 50
    return world


def test_released_events_enter_the_ledger_once_at_the_time_they_happened_with_their_full_weight() -> None:
    world = attacked()
    held = world.ids(catalogue.QUARANTINE)
    before = world.ids(catalogue.LEDGER)
    events_before = read_books(world.broker).events
    assert world.decide("release", target="victim") == (len(held), 0)
    assert world.decide("release", target="victim") == (0, len(held))
    world.drain()
    world.restart()
    assert world.decide("release") == (0, len(held))
    world.drain()
    assert world.ids(catalogue.LEDGER) == before + held
    released = [(entry, at_ms) for entry, at_ms in world.read(catalogue.LEDGER) if entry["event_id"] in held]
    assert all(entry["weight"] == 0.5 and entry["suspicion"] >= BURSTS.quarantine_at for entry, _ in released)
    assert all(entry["reasons"].startswith(f"{REASON}; burst: ") for entry, _ in released)
    assert all(at_ms == entry["occurred_at"] for entry, at_ms in released)
    assert {entry["origin_topic"] for entry, _ in released} == {catalogue.FEEDBACK_EXPLICIT}
    books = read_books(world.broker)
    assert books.events == events_before
    assert books.total("readmitted") == len(held)


def test_what_was_rejected_is_not_released_and_the_other_way_round() -> None:
    world = attacked()
    (first, second, *rest) = sorted(world.ids(catalogue.QUARANTINE))
    assert world.decide("reject", event_id=first) == (1, 0)
    assert world.decide("release", event_id=second) == (1, 0)
    assert world.decide("reject", event_id=second) == (0, 1)
    assert world.decide("release", target="victim") == (len(rest), 2)
    world.drain()
    ledger = world.ids(catalogue.LEDGER)
    assert (ledger[first], ledger[second]) == (0, 1)
    decisions = quarantine.decided(world.broker.log(), 0)
    assert Counter(decisions.values()) == {"release": len(rest) + 1, "reject": 1}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["release", "restart", "crash", "abort", "send", "fail the order"]), max_size=8))
def test_released_events_are_conserved_whatever_happens(history: list[str]) -> None:
    world = attacked()
    held = world.ids(catalogue.QUARANTINE)
    sent = 0
    for number, what in enumerate(history):
        if what == "release":
            world.decide("release")
        elif what == "fail the order":
            world.broker.fail_next("commit", Abortable("injected"))
            with pytest.raises(Abortable):
                perform(world.broker, Order("other", "verb", "ann", "-", NOW_MS), [Act(Place("x", 0, number), [])], 0)
        elif what == "restart":
            world.restart()
        elif what == "crash":
            world.broker.expire(world.loop._consumer)
            world.start()
        elif what == "abort":
            world.broker.fail_next("commit", Abortable("injected"))
            world.send([event(f"late-{number}", occurred_at=NOW_MS + 5_000)])
            sent += 1
        else:
            world.send([event(f"late-{number}", occurred_at=NOW_MS + 5_000)])
            sent += 1
        world.drain()
    ledger = world.ids(catalogue.LEDGER)
    assert max(ledger.values()) == 1
    assert {each for each in held if each in ledger} == (set(held) if "release" in history else set())
    assert read_books(world.broker).events == 3_100 + sent


def test_a_broken_released_record_is_a_dead_letter() -> None:
    world = World()
    world.broker.producer().send(catalogue.RELEASED, b"k", b"\x00\x00\x00\x00\x01 nonsense", timestamp_ms=NOW_MS)
    world.drain()
    ((letter, _),) = world.read(catalogue.DEADLETTER)
    assert letter["origin_topic"] == catalogue.RELEASED
    assert read_books(world.broker).total("invalid") == 1


def test_dead_letters_are_replayed_once_and_count_when_the_fault_is_mended() -> None:
    world = World(max_past_ms=DAY_MS)
    old = [event(f"old-{i}", occurred_at=NOW_MS - 3 * DAY_MS) for i in range(5)]
    world.send([*old, event("fine"), event("wrong", value=7.0)])
    log = world.broker.log()
    times = [Condition.parse("field=occurred_at")]
    assert len(list(deadletters.letters(log, 0, times))) == 5
    assert len(list(deadletters.letters(log, 0, [Condition.parse("error~thumb takes")]))) == 1

    world.restart(max_past_ms=7 * DAY_MS)
    for expected in ((5, 0), (0, 5)):
        found = deadletters.letters(log, 0, times)
        assert deadletters.replay(world.broker, found, "ann", "wider bounds", 0, NOW_MS) == expected
        world.drain()
    assert world.ids(catalogue.LEDGER) == Counter([*(f"old-{i}" for i in range(5)), "fine"])
    assert len(deadletters.replayed(log, 0)) == 5
    assert read_books(world.broker).events == 7 + 5


def test_what_is_still_wrong_becomes_a_new_letter_with_its_headers() -> None:
    world = World()
    world.broker.producer().send(
        catalogue.FEEDBACK_EXPLICIT, b"k", b"garbage", timestamp_ms=NOW_MS, headers=[("trace", b"7")], partition=1
    )
    world.drain()
    (letter,) = deadletters.letters(world.broker.log(), 0)
    assert deadletters.letter_at(world.broker.log(), letter.place) == letter
    deadletters.replay(world.broker, [letter], "ann", "-", 0, NOW_MS)
    world.drain()
    _, second = sorted(
        (each.record for each in deadletters.letters(world.broker.log(), 0)), key=lambda each: len(each["headers"])
    )
    assert second["payload"] == b"garbage"
    assert second["headers"] == {"trace": b"7", deadletters.REPLAY_HEADER: str(letter.place).encode()}


def test_letters_that_come_while_others_are_replayed_are_not_part_of_the_order() -> None:
    world = World()
    world.send([event("wrong", value=7.0)])
    first = list(deadletters.letters(world.broker.log(), 0))
    world.clock.advance(5)

    def still_coming() -> Any:
        yield from first
        world.send([event("wrong again", value=7.0)])
        yield from deadletters.letters(world.broker.log(), 0)

    assert deadletters.replay(world.broker, still_coming(), "ann", "-", 0, NOW_MS) == (1, 1)


def test_two_at_once_fence_each_other_and_nothing_is_done_twice() -> None:
    world = attacked()
    found = list(quarantine.held_events(world.broker.log(), Selection(0)))

    def rival() -> Any:
        yield found[0]
        assert world.decide("release")[0] == len(found)
        yield found[1]

    with pytest.raises(Fenced):
        quarantine.decide(world.broker, "release", rival(), "bob", "-", 0, NOW_MS)
    world.drain()
    assert max(world.ids(catalogue.LEDGER).values()) == 1


@pytest.mark.parametrize("text", ["field", "=x", "colour=red", "field:x"])
def test_a_condition_says_how_it_is_written(text: str) -> None:
    with pytest.raises(ConfigError, match="FIELD=TEXT or FIELD~TEXT"):
        Condition.parse(text)


def test_a_letter_that_is_not_there_is_said() -> None:
    world = World()
    for place in (Place(catalogue.DEADLETTER, 0, 3), Place(catalogue.DEADLETTER, 9, 0), Place(catalogue.LEDGER, 0, 0)):
        with pytest.raises(ConfigError, match="no dead letter"):
            deadletters.letter_at(world.broker.log(), place)


@given(st.text(min_size=1).filter(lambda text: "/" not in text), st.integers(0, 2**31), st.integers(0, 2**63))
def test_a_place_reads_what_it_writes(topic: str, partition: int, offset: int) -> None:
    place = Place(topic, partition, offset)
    assert Place.parse(str(place)) == place
    for wrong in (f"{topic}/1", f"/{partition}/{offset}", f"{topic}/-1/{offset}", f"{place}/1", f"{topic}/²/1"):
        with pytest.raises(ValueError, match="topic/partition/offset"):
            Place.parse(wrong)


def test_records_of_the_audit_topic_say_who_and_why() -> None:
    world = attacked()
    world.decide("release", event_id="b99")
    ((note, at_ms),) = world.read(catalogue.AUDIT)
    assert (note["actor"], note["action"], note["detail"]) == ("ann", "quarantine.release", {"reason": "a launch"})
    assert at_ms == note["at"] == NOW_MS
    assert encode_record(catalogue.AUDIT, note)


def test_a_restart_after_a_release_knows_as_much_of_bursts_as_before() -> None:
    world, other = attacked(), attacked()
    for each in (world, other):
        each.decide("release")
        each.drain()
    world.restart()
    again = [
        event(f"again-{i}", subject_id=f"new-{i}", target_id="victim", prediction_id="p", occurred_at=NOW_MS + 900 + i)
        for i in range(40)
    ]
    for each in (world, other):
        each.send(again)
    assert world.read(catalogue.LEDGER) == other.read(catalogue.LEDGER)
    assert world.read(catalogue.QUARANTINE) == other.read(catalogue.QUARANTINE)
