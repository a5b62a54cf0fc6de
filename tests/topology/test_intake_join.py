"""Intake and join in one transaction give what the two give apart, whatever fails in between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import ManualClock
from rheostat.streams.conservation import read_books
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.stage import Stage
from rheostat.streams.errors import Abortable, Corrupt
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.intake_join import IntakeJoinStage
from rheostat.streams.join.books import imbalance
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from tests.support.feedback import KEY, NOW_MS, encoded, event
from tests.support.join_records import prediction

PARTITIONS = 2
TOPICS = (
    *(*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED, catalogue.ALARMS, catalogue.PREDICTIONS),
    *(catalogue.LEDGER, catalogue.CORRECTIONS, catalogue.QUARANTINE, catalogue.DEADLETTER, catalogue.EXAMPLES),
)
INTAKE = IntakeSettings(KEY, bursts=BurstSettings(events_min=3, actor_events_min=1))
JOIN = JoinSettings(window_ms=60_000)


class World:
    """A broker and the loops of some stages; a fault throws away a loop's tasks in the midst of a transaction."""

    def __init__(self, *stages: Stage) -> None:
        self.clock = ManualClock(NOW_MS)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        self.broker.create_topics([TopicSpec(name, PARTITIONS) for name in TOPICS])
        self.producer = self.broker.producer()
        self.stages = stages
        self.shown: set[int] = set()
        self.loops = [self.loop(stage) for stage in stages]

    def loop(self, stage: Stage) -> StageLoop:
        limits = LoopLimits(records_max=7, poll_timeout_ms=0, interval_ms=0)
        return StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits)

    def send(self, topic: str, name: str, value: bytes) -> None:
        key = f"p-{name}".encode()
        self.producer.send(
            topic, key, value, timestamp_ms=self.clock.now_ms(), partition=partition_for(key, PARTITIONS)
        )

    def step(self) -> int:
        return sum(loop.step() for loop in self.loops)

    def drain(self) -> None:
        idle = 0
        while idle < 4:
            idle = 0 if self.step() else idle + 1

    def restart(self) -> None:
        for loop in self.loops:
            loop.close()
        self.loops = [self.loop(stage) for stage in self.stages]

    def found(self, topic: str) -> list[dict[str, Any]]:
        log = self.broker.log()
        records = [
            codec.decode_record(topic, value)
            for number in range(PARTITIONS)
            for block in log.read(topic, number)
            for value in block.values
        ]
        return sorted(records, key=lambda each: json.dumps(each, default=str, sort_keys=True))


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("show"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["say", "doubt"]), st.integers(0, 9)),
        st.just(("garbage", 0)),
        st.just(("step", 0)),
        st.just(("restart", 0)),
        st.tuples(st.sampled_from(["write", "send_offsets", "commit"]), st.just(0)),
    ),
    max_size=40,
)


def tell(world: World, what: str, number: int) -> None:
    """What services send; faults are not for everyone."""
    if what == "show" and number not in world.shown:
        world.shown.add(number)
        record = prediction(f"p-{number}", world.clock.now_ms())
        world.send(catalogue.PREDICTIONS, str(number), codec.encode_record(catalogue.PREDICTIONS, record))
    elif what == "say":
        said = event(str(number), occurred_at=world.clock.now_ms(), target_id="t")
        world.send(catalogue.FEEDBACK_EXPLICIT, str(number), encoded(said))
    elif what == "doubt":
        said = event(f"{number}-no", prediction_id=f"p-{number}", value=0.0, occurred_at=world.clock.now_ms())
        world.send(catalogue.FEEDBACK_EXPLICIT, str(number), encoded(said))
    elif what == "garbage":
        world.send(catalogue.FEEDBACK_EXPLICIT, "0", b"garbage")


@settings(deadline=None, max_examples=60)
@given(ACTIONS)
def test_one_stage_gives_what_two_give_and_faults_change_nothing(actions: list[tuple[str, int]]) -> None:
    apart = World(IntakeStage(INTAKE), JoinStage(JOIN))
    together = World(IntakeJoinStage(INTAKE, JOIN))
    for what, number in actions:
        for world in (apart, together):
            world.clock.advance(10)
            tell(world, what, number)
        if what == "step":
            together.step()
        elif what == "restart":
            together.restart()
        elif what in ("write", "send_offsets", "commit"):
            together.broker.fail_next(what, Abortable("injected"))
            together.step()
    for world in (apart, together):
        world.drain()
    for topic in (catalogue.LEDGER, catalogue.CORRECTIONS, catalogue.QUARANTINE):
        assert [each["event_id"] for each in together.found(topic)] == [each["event_id"] for each in apart.found(topic)]
    assert together.found(catalogue.EXAMPLES) == apart.found(catalogue.EXAMPLES)
    assert len(together.found(catalogue.DEADLETTER)) == len(apart.found(catalogue.DEADLETTER))
    assert read_books(together.broker).balanced
    assert read_books(together.broker) == read_books(apart.broker)
    for task in together.loops[0].tasks.values():
        assert not imbalance(task.books["join"])  # type: ignore[attr-defined]


def test_what_contradicts_is_corrected_by_the_stage_of_both() -> None:
    world = World(IntakeJoinStage(INTAKE, JOIN))
    for what in ("show", "say", "doubt"):
        tell(world, what, 1)
        world.clock.advance(10)
        world.drain()
        world.restart()
    (correction,) = world.found(catalogue.CORRECTIONS)
    assert (correction["event_id"], correction["keeps"], correction["cause"]) == ("1", 0.0, "conflict")
    assert [each["weight"] for each in world.found(catalogue.LEDGER)] == [1.0, 1.0]


def test_what_was_committed_last_counts_although_feedback_came_late() -> None:
    world = World(IntakeJoinStage(INTAKE, JOIN))
    for number in range(4):
        tell(world, "show", number)
        world.drain()
    world.restart()
    for number in range(4):
        tell(world, "say", number)
    world.drain()
    expected = read_books(world.broker)
    world.restart()
    tell(world, "say", 5)
    world.drain()
    assert expected.total("accepted") == 4
    assert read_books(world.broker).total("accepted") == 5
    assert len(world.found(catalogue.EXAMPLES)) == 4


def test_the_join_alone_does_not_make_again_what_the_stage_of_both_made() -> None:
    world = World(IntakeJoinStage(INTAKE, JOIN))
    for what in ("show", "say"):
        tell(world, what, 1)
    world.drain()
    assert world.found(catalogue.EXAMPLES)
    world.loops.append(world.loop(JoinStage(JOIN)))
    with pytest.raises(Corrupt, match="take turns"):
        world.drain()
