"""The join in its loop on the in-memory broker: crashes, aborts and rebalances lose and repeat nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, Fenced
from rheostat.streams.join.books import imbalance
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from tests.support.join_records import T0, entry, prediction

PARTITIONS = 3
WINDOW_MS = 60_000
TOPICS = (catalogue.PREDICTIONS, catalogue.LEDGER, catalogue.CORRECTIONS)


class World:
    """Workers by slot on one broker; a crashed one is expired and restarted under its slot."""

    def __init__(self, **settings_: Any) -> None:
        self.clock = ManualClock(T0)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        self.broker.create_topics(
            [TopicSpec(name, PARTITIONS) for name in (*TOPICS, catalogue.EXAMPLES, catalogue.DEADLETTER)]
        )
        self.settings = JoinSettings(window_ms=WINDOW_MS, **settings_)
        self.producer = self.broker.producer()
        self.loops: dict[int, StageLoop] = {}
        self.shown: set[str] = set()
        self.said: Counter[str] = Counter()

    def start(self, slot: int) -> None:
        limits = LoopLimits(records_max=5, poll_timeout_ms=0, interval_ms=0)
        stage = JoinStage(self.settings)
        self.loops[slot] = StageLoop(stage, self.broker, slot=str(slot), clock=self.clock, limits=limits)

    def crash(self, slot: int) -> None:
        self.broker.expire(self.loops[slot]._consumer)
        self.start(slot)

    def step(self, slot: int) -> None:
        try:
            self.loops[slot].step()
        except Fenced:
            self.crash(slot)

    def show(self, number: int) -> None:
        name = f"p{number}"
        if name not in self.shown:
            self.shown.add(name)
            self.send(catalogue.PREDICTIONS, name, prediction(name, self.clock.now_ms()))

    def say(self, number: int) -> None:
        name = f"p{number}"
        self.said[name] += 1
        at = self.clock.now_ms()
        self.send(catalogue.LEDGER, name, entry(f"e{number}-{self.said[name]}", name, at))

    def send(self, topic: str, key: str, record: dict[str, Any]) -> None:
        self.clock.advance(1)
        self.producer.send(topic, key.encode(), codec.encode_record(topic, record), timestamp_ms=record["occurred_at"])

    def drain(self) -> None:
        for _ in range(150):
            for slot in list(self.loops):
                self.step(slot)

    def examples(self) -> list[tuple[int, dict[str, Any]]]:
        log = self.broker.log()
        return [
            (number, codec.decode_record(catalogue.EXAMPLES, value))
            for number in range(PARTITIONS)
            for block in log.read(catalogue.EXAMPLES, number)
            for value in block.values
        ]

    def books(self) -> Counter[str]:
        """The counts of the last commit of each partition, added up."""
        consumer = self.broker.static_consumer("rheostat-join", TOPICS)
        everything = [TopicPartition(topic, number) for topic in TOPICS for number in range(PARTITIONS)]
        found = [(at.partition, each.metadata) for at, each in consumer.committed(everything).items()]
        consumer.close()
        total: Counter[str] = Counter()
        for number in range(PARTITIONS):
            mine = [json.loads(text) for partition, text in found if partition == number and text]
            total.update(max(mine, key=lambda each: each["seq"])["counts"] if mine else {})
        return total


ACTIONS = st.one_of(
    st.tuples(st.just("show"), st.integers(0, 15)),
    st.tuples(st.just("say"), st.integers(0, 15)),
    st.tuples(st.just("step"), st.integers(0, 1)),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("close"), st.integers(0, 1)),
    st.tuples(st.sampled_from(["write", "send_offsets", "commit"]), st.just(0)),
)


def play(world: World, what: str, number: int) -> None:
    if what == "show":
        world.show(number)
    elif what == "say":
        world.say(number)
    elif what in ("write", "send_offsets", "commit"):
        world.broker.fail_next(what, Abortable("injected"))
    elif number not in world.loops:
        world.start(number)
    elif what == "step":
        world.step(number)
    elif what == "crash":
        world.crash(number)
    else:
        world.loops.pop(number).close()


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, max_size=60))
def test_every_event_on_a_prediction_gives_one_example_whatever_happens(history: list[tuple[str, int]]) -> None:
    world = World()
    world.start(0)
    for what, number in history:
        play(world, what, number)
    if not world.loops:
        world.start(0)
    world.drain()
    made = world.examples()
    wanted = {f"e{name[1:]}-{count + 1}" for name in world.shown for count in range(world.said[name])}
    assert Counter(each["example_id"] for _, each in made) == Counter(wanted)
    assert all(number == partition_for(each["prediction_id"].encode(), PARTITIONS) for number, each in made)
    books = world.books()
    assert books["feedback_in"] == world.said.total()
    assert books["predictions_in"] == len(world.shown)
    assert books["joined"] == len(made)
    assert books["waiting"] == world.said.total() - len(made)
    if books:
        assert imbalance(books) == 0


def test_a_default_label_is_given_once_although_the_worker_dies_around_it() -> None:
    world = World(default_label=0.0)
    world.start(0)
    for number in range(9):
        world.show(number)
    world.drain()
    world.crash(0)
    world.clock.advance(3 * WINDOW_MS)
    for number in range(100, 120):
        world.show(number)
        world.say(number)
    world.broker.fail_next("commit", Abortable("injected"))
    world.drain()
    world.crash(0)
    world.drain()
    kinds = Counter(each["kind"] for _, each in world.examples())
    assert kinds == {"default": 9, "thumb": 20}
    assert world.books()["default_emitted"] == 9


def test_feedback_that_waited_through_a_crash_is_joined() -> None:
    world = World()
    world.start(0)
    world.say(1)
    world.drain()
    world.crash(0)
    world.drain()
    assert world.examples() == []
    world.show(1)
    world.drain()
    assert [each["example_id"] for _, each in world.examples()] == ["e1-1"]
