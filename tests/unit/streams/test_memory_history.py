"""Random histories on the in-memory broker: workers join, crash, abort and are fenced; each record counts once."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Block, OutBlock, TopicPartition
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, Fenced, Retryable
from tests.support.brokers import positions, publish, values_of

PARTITIONS = 2
SLOTS = st.integers(0, 1)


class Worker:
    """Copies "in" to "out" exactly once; dies when it is fenced."""

    def __init__(self, broker: MemoryBroker, slot: int) -> None:
        self.producer = broker.transactional_producer(f"slot-{slot}")
        self.consumer = broker.group_consumer("g", ["in"])
        self.waiting: set[TopicPartition] = set()
        self.held: list[Block] = []
        self.offered = False
        self.membership = self.consumer.group_metadata()

    def poll(self, records_max: int) -> None:
        """Follow the assignment and take some records into an open transaction, unless one is open."""
        if self.held:
            return
        blocks = self.consumer.poll(records_max, 0)
        self.waiting -= set(self.consumer.take_revoked())
        self.waiting |= set(self.consumer.take_assigned())
        try:
            at = self.consumer.committed(sorted(self.waiting))
        except Retryable:
            at = {}
        self.consumer.start({tp: position.offset for tp, position in at.items()})
        self.waiting -= at.keys()
        if blocks:
            self.membership = self.consumer.group_metadata()
            self.held = blocks
            self.producer.begin()
            for b in blocks:
                self.producer.write(OutBlock("out", b.partition, b.keys, b.values, b.timestamps_ms))

    def finish(self, commit: bool) -> None:
        """Commit what is held, or abort and read it again."""
        blocks, self.held = self.held, []
        if not blocks:
            return
        self._finish(blocks, commit)
        self.offered = False

    def offer(self) -> None:
        """Add the offsets of what is held to the transaction."""
        if self.held:
            self.producer.send_offsets(positions(self.held, "m"), self.membership)
            self.offered = True

    def _finish(self, blocks: list[Block], commit: bool) -> None:
        try:
            if not commit:
                raise Abortable("on purpose")
            if not self.offered:
                self.producer.send_offsets(positions(blocks, "m"), self.membership)
            self.producer.commit()
        except Abortable:
            self.producer.abort()
            self.consumer.rewind({TopicPartition(b.topic, b.partition): b.offsets[0] for b in blocks})


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker(ManualClock(), wait_ms=0)
        self.broker.create_topics([TopicSpec("in", PARTITIONS), TopicSpec("out", PARTITIONS)])
        self.started = 0
        self.workers: dict[int, Worker] = {}
        self.written: dict[int, list[bytes | None]] = {p: [] for p in range(PARTITIONS)}
        self.seen: dict[int, list[bytes | None]] = {p: [] for p in range(PARTITIONS)}
        self.tailer = self.broker.tailer(["out"], from_beginning=True)

    @initialize()
    def begin_with_two_workers_and_work_for_them(self) -> None:
        for slot in range(2):
            self.start_worker(slot)
        for partition in range(PARTITIONS):
            self.produce(partition, 2)

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 5))
    def produce(self, partition: int, count: int) -> None:
        values: list[bytes | None] = [b"%d" % (len(self.written[partition]) + i) for i in range(count)]
        publish(self.broker, "in", partition, values)
        self.written[partition].extend(values)

    @rule(slot=SLOTS)
    def start_worker(self, slot: int) -> None:
        """A second worker of a slot takes the first one's place; the first stays, as a zombie would."""
        self.started += 1
        self.workers[self.started] = Worker(self.broker, slot)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), records_max=st.integers(1, 4))
    def take(self, data: st.DataObject, records_max: int) -> None:
        def act(worker: Worker) -> None:
            for _ in range(3):
                worker.poll(records_max)

        self._with_worker(data, act)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), commit=st.sampled_from([True, True, True, False]))
    def finish(self, data: st.DataObject, commit: bool) -> None:
        self._with_worker(data, lambda worker: worker.finish(commit))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), offered=st.booleans(), expired=st.booleans(), slot=st.none() | SLOTS)
    def pause(self, data: st.DataObject, offered: bool, expired: bool, slot: int | None) -> None:
        """A worker stops in the middle of a transaction while the others work, and then goes on."""

        def act(worker: Worker) -> None:
            worker.poll(2)
            worker.poll(2)
            if offered:
                worker.offer()
            if expired:
                self.broker.expire(worker.consumer)
            if slot is not None:
                self.start_worker(slot)
            for other in [each for each in self.workers.values() if each is not worker]:
                self._work(other)
            worker.finish(commit=True)

        self._with_worker(data, act)

    @precondition(lambda self: self.workers)
    @rule(operation=st.sampled_from(["send_offsets", "commit"]))
    def fault(self, operation: str) -> None:
        self.broker.fail_next(operation, Abortable("injected"))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        self._with_worker(data, lambda worker: self.broker.expire(worker.consumer))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """The process is gone: its session ends, its transaction stays open until its slot comes back."""
        number = data.draw(st.sampled_from(sorted(self.workers)))
        self.broker.expire(self.workers.pop(number).consumer)

    @invariant()
    def output_is_a_prefix_of_the_input(self) -> None:
        for block in self.tailer.poll(1_000, 0):
            self.seen[block.partition].extend(block.values)
        for partition, seen in self.seen.items():
            assert seen == self.written[partition][: len(seen)]

    def teardown(self) -> None:
        """With the zombies gone, one fresh worker finishes the work: everything is there, once."""
        for worker in self.workers.values():
            self.broker.expire(worker.consumer)
        for slot in range(2):
            self.broker.time_out(f"slot-{slot}")
        last = Worker(self.broker, 0)
        for _ in range(50):
            last.poll(10)
            last.finish(commit=True)
            if self._complete():
                break
        assert {p: self._out(p) for p in range(PARTITIONS)} == self.written

    def _complete(self) -> bool:
        return all(len(self._out(p)) == len(self.written[p]) for p in range(PARTITIONS))

    def _out(self, partition: int) -> list[bytes | None]:
        return values_of(self.broker.log().read("out", partition))

    def _work(self, worker: Worker) -> None:
        for _ in range(3):
            try:
                worker.poll(2)
                worker.finish(commit=True)
            except Fenced:
                self.broker.expire(worker.consumer)

    def _with_worker(self, data: st.DataObject, act: Callable[[Worker], None]) -> None:
        number = data.draw(st.sampled_from(sorted(self.workers)))
        try:
            act(self.workers[number])
        except Abortable:
            self.workers[number].finish(commit=False)
        except Fenced:
            self.broker.expire(self.workers.pop(number).consumer)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
