"""The transaction loop: poll blocks, let a stage process them, commit its output and the offsets together.

    assigned > opening > running > revoked         (one task for each partition number, or one for all)

Every call of `step` is at most one transaction. When it cannot be committed it is aborted, the tasks it touched
are dropped, the consumer is rewound to the committed offsets and the tasks are opened again from the log: there is
one way to rebuild state, used after an abort, a rebalance and a restart alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Protocol

from rheostat.schemas.hops import Trail
from rheostat.streams.clock import Clock
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.hops import Hop, Relay
from rheostat.streams.engine.opening import Opener
from rheostat.streams.engine.registering import RegisteringProducer
from rheostat.streams.engine.share import Share
from rheostat.streams.engine.stage import Output, Stage, Task
from rheostat.streams.errors import Abortable, Retryable

METADATA_BYTES_MAX = 4096
ALL_PARTITIONS = -1
"""Key of the only task of a stage whose assignment is static."""

Process = Callable[[Stage, Sequence[Task], Sequence[Sequence[Block]], int], list[Output]]
"""A way to have a stage process the blocks of several tasks."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """How much one transaction may hold, how long a poll waits for the first records, and the time between commits.

    What arrives when nothing was committed for `interval_ms` is processed at once; under load transactions begin at
    least that far apart, because each costs the same however little it holds. Of a backlog it holds what is worked on
    for about `work_ms` (see `share`). `open_at_once`: how many tasks are opened at a time; each may need tens of
    megabytes for that.
    """

    records_max: int = 100_000
    work_ms: int = 400
    interval_ms: int = 20
    poll_timeout_ms: int = 20
    retry_pause_ms: int = 100
    open_at_once: int = 2


class LoopObserver(Protocol):
    """Told what the loop did; feeds metrics and tests."""

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """One transaction was committed; records are counted by topic."""
        ...

    def aborted(self, stage: str, reason: str) -> None:
        """One transaction was aborted."""
        ...

    def opened(self, stage: str, key: int, task: Task, seconds: float) -> None:
        """A task was opened from the log; `seconds` is its share of the time, others being opened along with it."""
        ...

    def closed(self, stage: str, key: int) -> None:
        """A task was dropped."""
        ...

    def lag(self, stage: str, records: int) -> None:
        """How far the stage is behind the end of its sources."""
        ...

    def passed(self, stage: str, trails: Sequence[Trail], committed_ms: int) -> None:
        """The trails that a committed transaction carried on, up to this stage (see `engine.hops`)."""
        ...

    def bad_trail(self, stage: str, fault: str) -> None:
        """A trail had one of `engine.hops.FAULTS`."""
        ...


class NoObserver:
    """Ignores everything."""

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Ignore."""

    def aborted(self, stage: str, reason: str) -> None:
        """Ignore."""

    def opened(self, stage: str, key: int, task: Task, seconds: float) -> None:
        """Ignore."""

    def closed(self, stage: str, key: int) -> None:
        """Ignore."""

    def lag(self, stage: str, records: int) -> None:
        """Ignore."""

    def passed(self, stage: str, trails: Sequence[Trail], committed_ms: int) -> None:
        """Ignore."""

    def bad_trail(self, stage: str, fault: str) -> None:
        """Ignore."""


def call_directly(stage: Stage, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
    """Process in the calling thread."""
    return stage.process(tasks, blocks, now_ms)


class StageLoop:
    """Runs one stage on one broker connection; used from one thread.

    `slot` tells apart the workers of a stage and is part of the transactional id: a restarted worker with the same
    slot aborts what its predecessor left open. Raises Fenced or Fatal when the process must exit, and whatever the
    stage raises: nothing is skipped.

    hop: where the stage carries on what its records tell of their way; None: nowhere.
    """

    def __init__(
        self,
        stage: Stage,
        broker: Broker,
        *,
        slot: str,
        clock: Clock,
        limits: LoopLimits | None = None,
        process: Process = call_directly,
        observer: LoopObserver | None = None,
        hop: Hop | None = None,
    ) -> None:
        self.stage = stage
        self._clock = clock
        self._limits = limits or LoopLimits()
        self._share = Share(self._limits.records_max, self._limits.work_ms)
        self._process = process
        self._observer: LoopObserver = observer or NoObserver()
        self._relay = Relay(hop, partial(self._observer.bad_trail, stage.name))
        self._log = broker.log()
        group = f"rheostat-{stage.name}"
        name = f"{group}-{slot}"
        # Registering it fences a predecessor, and aborts what that left open: committed offsets and logs wait for it.
        self._producer = RegisteringProducer(partial(broker.transactional_producer, name))
        self._static = stage.assignment == "static"
        self._held = partial(broker.held_by, group, name)
        held: Sequence[TopicPartition] = ()
        if self._static:
            # Nothing else keeps a predecessor from moving on from where it is found to stand.
            self._producer.wait()
            self._consumer = broker.static_consumer(group, stage.sources)
        else:
            # Before joining: a group of the classic protocol tells nothing while it waits for its members.
            held = self._held()
            self._consumer = broker.group_consumer(group, stage.sources, name=name)
        self._opener = Opener(stage, self._log, clock, self._limits.open_at_once)
        self._tasks: dict[int, Task] = {}
        self._owned: set[TopicPartition] = set()
        self._opening: set[TopicPartition] = set()
        self._rewinding: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._began = 0.0
        self._last_tick_ms = clock.now_ms()
        self._closed = False
        self._open_ahead(held)

    @property
    def tasks(self) -> Mapping[int, Task]:
        """The open tasks by partition number (`ALL_PARTITIONS` for a static stage)."""
        return self._tasks

    def run(self, stop: Event) -> None:
        """Step until told to stop, then close."""
        try:
            while not stop.is_set():
                self.step()
        finally:
            self.close()

    def step(self) -> int:
        """Poll once and commit at most one transaction; return how many records it consumed."""
        self._wait_for_turn()
        self._producer.check()
        blocks = self._consumer.poll(self._share.records, self._limits.poll_timeout_ms)
        self._drop_revoked(self._consumer.take_revoked())
        assigned = self._consumer.take_assigned()
        self._owned.update(assigned)
        self._opening.update(assigned)
        # Before tasks are opened: what was polled for a task that is to be opened again is read again as well.
        by_task = self._by_task(blocks)
        if self._opening:
            self._open()
        now_ms = self._clock.now_ms()
        if by_task:
            self._transact(by_task, now_ms)
            self._observer.lag(self.stage.name, self._consumer.lag())
        elif self._tick_due(now_ms):
            self._transact({key: [] for key in self._tasks}, now_ms)
        return sum(len(block) for own in by_task.values() for block in own)

    def close(self) -> None:
        """Leave the group and release everything; an open transaction is aborted. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._producer.close()
        self._consumer.close()
        self._opener.give_up_but(())
        for key in list(self._tasks):
            self._drop(key)

    def _wait_for_turn(self) -> None:
        left = self._began + self._limits.interval_ms / 1000 - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _key(self, partition: int) -> int:
        return ALL_PARTITIONS if self._static else partition

    def _by_task(self, blocks: Iterable[Block]) -> dict[int, list[Block]]:
        groups: dict[int, list[Block]] = {}
        for block in blocks:
            key = self._key(block.partition)
            if key in self._tasks:
                groups.setdefault(key, []).append(block)
        return groups

    def _tick_due(self, now_ms: int) -> bool:
        return (
            self.stage.tick_ms is not None and bool(self._tasks) and now_ms - self._last_tick_ms >= self.stage.tick_ms
        )

    def _transact(self, by_task: Mapping[int, Sequence[Block]], now_ms: int) -> None:
        started = time.perf_counter()
        self._began = time.monotonic()
        self._last_tick_ms = now_ms
        group = self._consumer.group_metadata()
        records_in: dict[str, int] = {}
        records_out: dict[str, int] = {}
        positions: dict[TopicPartition, Committed] = {}
        open_ = False
        self._relay.begin()
        try:
            tasks = [self._tasks[key] for key in by_task]
            outputs = self._process(self.stage, tasks, list(by_task.values()), now_ms)
            done_ms = self._clock.now_ms()
            for (key, blocks), output in zip(by_task.items(), outputs, strict=True):
                if not open_ and (blocks or output.records):
                    self._producer.begin()
                    open_ = True
                for out in self._relay.onto(output.records, blocks, now_ms, done_ms):
                    self._producer.write(out)
                    records_out[out.topic] = records_out.get(out.topic, 0) + len(out)
                for block in blocks:
                    records_in[block.topic] = records_in.get(block.topic, 0) + len(block)
                positions.update(self._positions(blocks, output.metadata))
                if output.records and not blocks:
                    positions.update(self._standing(key, output.metadata))
            self._share.took(sum(records_in.values()), time.perf_counter() - started)
            if not open_:
                return
            if positions:
                self._producer.send_offsets(positions, group)
            self._producer.commit()
        except Abortable as error:
            self._undo(by_task, str(error))
        else:
            self._observer.committed(self.stage.name, records_in, records_out, time.perf_counter() - started)
            if self._relay.passed:
                self._observer.passed(self.stage.name, self._relay.passed, self._clock.now_ms())

    def _standing(self, key: int, metadata: str) -> dict[TopicPartition, Committed]:
        """Return where a task stands: what it wrote without input is committed with its metadata, too."""
        own = [each for each in self._owned if self._key(each.partition) == key]
        return {each: Committed(self._next[each], metadata) for each in own}

    def _undo(self, by_task: Mapping[int, Sequence[Block]], reason: str) -> None:
        self._producer.abort()
        self._observer.aborted(self.stage.name, reason)
        for key in by_task:
            self._drop(key)
        again = {each for each in self._owned if self._key(each.partition) in by_task}
        self._opening |= again
        self._rewinding |= again

    def _open(self) -> None:
        """Open tasks for the partitions waiting for one, unless a pending transaction still hides their offsets."""
        waiting = sorted(self._opening)
        try:
            committed = self._consumer.committed(waiting)
        except Retryable:
            return
        positions = self._by_key(committed)
        for key, (task, seconds) in self._opener.open(positions).items():
            self._start(key, task, positions[key], seconds)
        self._opening.clear()
        if self._opener.ahead:
            self._opener.give_up_but({self._key(each.partition) for each in self._held()})

    def _open_ahead(self, held: Sequence[TopicPartition]) -> None:
        """Begin to open what the group holds for a dead predecessor: it will be assigned once that one is missed."""
        if held:
            with suppress(Retryable):
                self._opener.open_ahead(self._by_key(self._consumer.committed(held)))

    def _by_key(self, committed: Mapping[TopicPartition, Committed]) -> dict[int, dict[TopicPartition, Committed]]:
        positions: dict[int, dict[TopicPartition, Committed]] = {}
        for each in sorted(committed):
            positions.setdefault(self._key(each.partition), {})[each] = committed[each]
        return positions

    def _start(self, key: int, task: Task, committed: Mapping[TopicPartition, Committed], seconds: float) -> None:
        self._tasks[key] = task
        offsets = {each: position.offset for each, position in committed.items()}
        self._consumer.rewind({each: at for each, at in offsets.items() if each in self._rewinding})
        self._consumer.start({each: at for each, at in offsets.items() if each not in self._rewinding})
        self._rewinding -= offsets.keys()
        self._next.update((each, at or 0) for each, at in offsets.items())
        self._observer.opened(self.stage.name, key, task, seconds)

    def _drop_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        if not revoked:
            return
        self._owned.difference_update(revoked)
        self._opening.difference_update(revoked)
        self._rewinding.difference_update(revoked)
        for key in {self._key(each.partition) for each in revoked}:
            self._drop(key)
            # Partitions of the same number that stay need their task anew.
            left = {each for each in self._owned if self._key(each.partition) == key}
            self._rewinding |= left - self._opening
            self._opening |= left

    def _drop(self, key: int) -> None:
        if self._tasks.pop(key, None) is not None:
            self._observer.closed(self.stage.name, key)

    def _positions(self, blocks: Sequence[Block], metadata: str) -> dict[TopicPartition, Committed]:
        if (size := len(metadata.encode())) > METADATA_BYTES_MAX:
            raise ValueError(f"commit metadata of {self.stage.name} has {size} bytes, at most {METADATA_BYTES_MAX} fit")
        positions: dict[TopicPartition, Committed] = {}
        for block in blocks:
            at = TopicPartition(block.topic, block.partition)
            assert block.offsets[0] >= self._next[at], f"{at}: offset {block.offsets[0]} read after {self._next[at]}"
            self._next[at] = block.next_offset
            positions[at] = Committed(block.next_offset, metadata)
        return positions
