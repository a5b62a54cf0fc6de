"""What the engine asks of a stage: open its state from the log, then turn blocks into blocks.

A stage has no Kafka, no clock and no global state. The engine gives it a `Log` to rebuild its state from
when partitions are assigned, and blocks with the present time afterwards. It writes what `process` returned,
and the offsets of the blocks, in one transaction. If that transaction fails the task is thrown away and
opened again from the log, so a task never has to undo anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.packed import Packed


@dataclass(frozen=True, slots=True)
class Output:
    """What one call of `process` wants written.

    `metadata` travels with the committed offsets (at most 4096 bytes): the event-time watermark, counts, and
    whatever else the next `open` must know exactly as of this commit.
    """

    records: Sequence[OutBlock] = field(default=())
    metadata: str = ""


class Log(Protocol):
    """Read-only view of the topics, committed records only."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        ...

    def read(
        self,
        topic: str,
        partition: int,
        *,
        start_offset: int | None = None,
        since_ms: int | None = None,
        end_offset: int | None = None,
    ) -> Iterator[Block]:
        """Yield the committed records of a partition, in order, then stop.

        Starts at `start_offset`, or at the first record whose timestamp is at least `since_ms`, or at the
        beginning. Stops before `end_offset`, or at the partition's high watermark as it was when this was called.
        """
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the offset of a partition's first record, and its high watermark."""
        ...

    def read_packed(self, topic: str, partition: int, *, since_ms: int | None = None) -> Iterator[Packed]:
        """Yield values and times of the records that `read` would yield: several times as fast, for long tails."""
        ...


class Task(Protocol):
    """The state of a stage over the partitions it was opened for."""

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Turn blocks into output; an empty `blocks` is the stage's tick (see `Stage.tick_ms`)."""
        ...


class EachOnItsOwn:
    """How most stages process the blocks of several tasks: one task after the other."""

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Let each task process its own blocks."""
        return [task.process(own, now_ms) for task, own in zip(tasks, blocks, strict=True)]


class Stage(Protocol):
    """A step of the pipeline.

    assignment "group": the consumer group shares the partitions out; the engine opens one task for each partition
    number, over that partition of every source (they are co-partitioned). assignment "static": one task owns all
    partitions of all sources, and a newer process with the same slot fences the older one.
    """

    @property
    def name(self) -> str:
        """Short name: consumer group, transactional id and metrics carry it."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that are read."""
        ...

    @property
    def assignment(self) -> Literal["group", "static"]:
        """How partitions are given to tasks."""
        ...

    @property
    def tick_ms(self) -> int | None:
        """How often `process` is called without blocks while nothing arrives; None: never."""
        ...

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> Task:
        """Rebuild the state as it was at the committed offsets, from the log alone. Called by several threads at once.

        `committed` has an entry for every source partition of the task, fetched *before* any read of `log`.
        """
        ...

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Return the output of each task for its blocks, as its own `process` would give it.

        What is done for all of them in one go costs less than one after the other (see `EachOnItsOwn`).
        """
        ...
