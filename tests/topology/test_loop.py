"""The transaction loop on the in-memory broker: whatever happens, every record takes effect exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Barrier, Event
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.memory_producer import MemoryTransactionalProducer
from rheostat.streams.engine.share import RECORDS_FIRST
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Abortable, Fatal, Fenced, Retryable
from tests.support.brokers import await_condition
from tests.support.copy_stage import CopyStage, CopyTask

PARTITIONS = 3
OPERATIONS = ("begin", "write", "send_offsets", "commit")


class World:
    """Workers by slot on one broker; a crashed one is expired and restarted under its slot."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        self.broker.create_topics([TopicSpec("in", PARTITIONS), TopicSpec("out", PARTITIONS)])
        self.producer = self.broker.producer()
        self.loops: dict[int, StageLoop] = {}
        self.sent: set[bytes] = set()

    def start(self, slot: int) -> None:
        limits = LoopLimits(records_max=7, poll_timeout_ms=0, interval_ms=0)
        self.loops[slot] = StageLoop(CopyStage(), self.broker, slot=str(slot), clock=self.clock, limits=limits)

    def crash(self, slot: int) -> None:
        self.broker.expire(self.loops[slot]._consumer)
        self.start(slot)

    def step(self, slot: int) -> None:
        try:
            self.loops[slot].step()
        except Fenced:
            self.crash(slot)

    def produce(self, key: bytes) -> None:
        self.sent.add(key)
        self.producer.send("in", key, key, timestamp_ms=self.clock.advance(1))

    def drain(self) -> None:
        for _ in range(200):
            for slot in list(self.loops):
                self.step(slot)
        log = self.broker.log()
        self.out = Counter(
            key for number in range(PARTITIONS) for block in log.read("out", number) for key in block.keys
        )


actions = st.one_of(
    st.tuples(st.just("produce"), st.integers(0, 40)),
    st.tuples(st.just("step"), st.integers(0, 2)),
    st.tuples(st.just("crash"), st.integers(0, 2)),
    st.tuples(st.just("close"), st.integers(0, 2)),
    st.tuples(st.just("abort"), st.integers(0, len(OPERATIONS) - 1)),
    st.tuples(st.just("time_out"), st.integers(0, 2)),
    st.tuples(st.just("pending"), st.just(0)),
)


def play(world: World, what: str, number: int) -> None:
    if what == "produce":
        world.produce(f"key-{number}".encode())
    elif what == "abort":
        world.broker.fail_next(OPERATIONS[number], Abortable("injected"))
    elif what == "pending":
        world.broker.fail_next("committed", Retryable("a transaction is pending"))
    elif number not in world.loops:
        world.start(number)
    elif what == "step":
        world.step(number)
    elif what == "crash":
        world.crash(number)
    elif what == "close":
        world.loops.pop(number).close()
    else:
        world.broker.time_out(f"rheostat-copy-{number}")


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, max_size=120))
def test_every_key_comes_out_once_whatever_happens(history: list[tuple[str, int]]) -> None:
    world = World()
    world.start(0)
    for what, number in history:
        play(world, what, number)
    if not world.loops:
        world.start(0)
    world.drain()
    assert world.out == Counter(world.sent)


def test_a_failed_commit_rebuilds_the_task_from_the_log() -> None:
    world = World()
    world.start(0)
    world.produce(b"a")
    world.step(0)
    world.step(0)
    before = dict(world.loops[0].tasks)
    world.produce(b"b")
    world.broker.fail_next("commit", Abortable("injected"))
    world.drain()
    assert world.out == {b"a": 1, b"b": 1}
    assert any(world.loops[0].tasks[key] is not task for key, task in before.items())


@dataclass(frozen=True, slots=True)
class TogetherStage(CopyStage):
    """Opens a task only while the others are being opened, too."""

    together: Barrier = field(default_factory=lambda: Barrier(PARTITIONS, timeout=10))

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> CopyTask:
        self.together.wait()
        return CopyStage.open(self, partitions, committed, log, now_ms)


def test_tasks_are_opened_at_the_same_time() -> None:
    world = World()
    limits = LoopLimits(poll_timeout_ms=0, interval_ms=0, open_at_once=PARTITIONS)
    loop = StageLoop(TogetherStage(), world.broker, slot="0", clock=world.clock, limits=limits)
    loop.step()
    assert sorted(loop.tasks) == list(range(PARTITIONS))


@dataclass(frozen=True, slots=True)
class CountingStage(CopyStage):
    """Knows which partition numbers were opened."""

    opened: list[int] = field(default_factory=list)

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> CopyTask:
        self.opened.extend(partitions)
        return CopyStage.open(self, partitions, committed, log, now_ms)


def successor(world: World, slot: str) -> tuple[CountingStage, StageLoop]:
    stage, limits = CountingStage(), LoopLimits(poll_timeout_ms=0, interval_ms=0)
    return stage, StageLoop(stage, world.broker, slot=slot, clock=world.clock, limits=limits)


@pytest.mark.parametrize(("slot", "ahead"), [("0", PARTITIONS), ("1", 0)])
def test_what_a_dead_predecessor_holds_is_opened_before_the_group_misses_it(slot: str, ahead: int) -> None:
    world = World()
    world.start(0)
    world.produce(b"a")
    world.drain()
    stage, loop = successor(world, slot)
    await_condition(lambda: len(stage.opened) == ahead, "opened ahead")
    world.broker.expire(world.loops.pop(0)._consumer)
    world.produce(b"a")
    world.produce(b"b")
    for _ in range(3):
        loop.step()
    assert sorted(stage.opened) == list(range(PARTITIONS))
    world.drain()
    assert world.out == {b"a": 1, b"b": 1}


class SlowBroker(MemoryBroker):
    """Registers producers only when it is told to, or soon after. `done` has what was done, in order."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, wait_ms=0)
        self.create_topics([TopicSpec("in", PARTITIONS), TopicSpec("out", PARTITIONS)])
        self.goes_on = Event()
        self.done: list[str] = []
        self.error: Exception | None = None

    def transactional_producer(self, transactional_id: str) -> MemoryTransactionalProducer:
        self.goes_on.wait(0.3)
        self.done.append("registered")
        if self.error is not None:
            raise self.error
        return super().transactional_producer(transactional_id)

    def looked(self) -> None:
        self.done.append("looked")
        self.goes_on.set()


@dataclass(frozen=True, slots=True)
class LookingStage(CopyStage):
    """Tells its broker when a task is opened."""

    opening: Callable[[], None] = field(default=lambda: None)

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> CopyTask:
        self.opening()
        return CopyStage.open(self, partitions, committed, log, now_ms)


def loop_on(broker: SlowBroker, assignment: Literal["group", "static"]) -> StageLoop:
    stage = LookingStage(assignment=assignment, opening=broker.looked)
    limits = LoopLimits(poll_timeout_ms=0, interval_ms=0)
    return StageLoop(stage, broker, slot="0", clock=ManualClock(), limits=limits)


@pytest.mark.parametrize(("assignment", "first"), [("group", "looked"), ("static", "registered")])
def test_a_predecessor_is_fenced_before_a_static_stage_is_opened_and_meanwhile_where_a_group_keeps_it_away(
    assignment: Literal["group", "static"], first: str
) -> None:
    broker = SlowBroker(ManualClock())
    loop = loop_on(broker, assignment)
    loop.step()
    assert loop.tasks
    broker.producer().send("in", b"a", b"a", timestamp_ms=1, partition=0)
    loop.step()
    assert broker.done[0] == first
    assert [key for block in broker.log().read("out", 0) for key in block.keys] == [b"a"]


def test_an_error_of_registering_ends_the_loop_though_nothing_is_written() -> None:
    broker = SlowBroker(ManualClock())
    broker.error = Fatal("not allowed")
    loop = loop_on(broker, "group")
    with pytest.raises(Fatal, match="not allowed"):
        loop.run(Event())


def test_counts_in_the_metadata_survive_a_crash() -> None:
    world = World()
    world.start(0)
    for key in (b"a", b"a", b"b", b"c"):
        world.produce(key)
    world.drain()
    world.crash(0)
    world.produce(b"d")
    world.drain()
    assert sum(task.consumed for task in world.loops[0].tasks.values()) == 5  # type: ignore[attr-defined]


def test_pending_offsets_delay_the_start_and_nothing_else() -> None:
    world = World()
    world.broker.fail_next("committed", Retryable("a transaction is pending"))
    world.start(0)
    world.produce(b"a")
    world.drain()
    assert world.out == {b"a": 1}


def test_an_error_of_the_stage_is_not_swallowed() -> None:
    world = World()

    def broken(stage: object, tasks: object, blocks: object, now_ms: int) -> object:
        raise RuntimeError("a bug")

    loop = StageLoop(CopyStage(), world.broker, slot="x", clock=world.clock, process=broken)  # type: ignore[arg-type]
    world.produce(b"a")
    loop.step()  # assigned
    with pytest.raises(RuntimeError, match="a bug"):
        loop.step()
    loop.close()
    world.start(0)
    world.drain()
    assert world.out == {b"a": 1}


def test_a_share_grows_where_there_is_time() -> None:
    world = World()
    for number in range(3 * RECORDS_FIRST):
        world.produce(f"key-{number}".encode())
    limits = LoopLimits(work_ms=3_600_000, poll_timeout_ms=0, interval_ms=0)
    loop = StageLoop(CopyStage(), world.broker, slot="0", clock=world.clock, limits=limits)
    taken = [count for _ in range(5) if (count := loop.step())]
    assert taken == [RECORDS_FIRST, 2 * RECORDS_FIRST]
