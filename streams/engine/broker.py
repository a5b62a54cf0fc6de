"""The broker as the engine sees it. Two implementations, one contract suite: `kafka` and `memory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rheostat.streams.engine.block import Block, Committed, Headers, OutBlock, TopicPartition
from rheostat.streams.engine.stage import Log


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create: `config` holds broker settings such as retention.ms."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1


class GroupMetadata(Protocol):
    """Opaque proof of group membership, taken right after the poll that returned the blocks."""


class StageConsumer(Protocol):
    """Reads the sources of one stage; offsets are committed only through a transaction.

    `poll` never mixes assignment and data: newly assigned partitions are reported by `take_assigned` and deliver
    nothing until `start`; revoked or lost ones are reported by `take_revoked` and deliver nothing more.
    """

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return at most `records_max` records as contiguous runs, waiting up to `timeout_ms` for the first."""
        ...

    def take_assigned(self) -> list[TopicPartition]:
        """Return partitions assigned since the last call; they are paused until `start`."""
        ...

    def take_revoked(self) -> list[TopicPartition]:
        """Return partitions revoked or lost since the last call; state held for them must be dropped."""
        ...

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Return stable committed positions; waits while a transaction on them is pending. Raises Retryable."""
        ...

    def start(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Begin delivery of assigned partitions at these offsets (None: the beginning)."""
        ...

    def rewind(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Deliver again from these offsets; partitions no longer owned are ignored."""
        ...

    def lag(self) -> int:
        """Return how many offsets the owned partitions are behind the end of the log, as last known."""
        ...

    def group_metadata(self) -> GroupMetadata:
        """Return the membership as of the last poll."""
        ...

    def close(self) -> None:
        """Leave the group and release everything. Idempotent."""
        ...


class TransactionalProducer(Protocol):
    """Writes blocks and offsets atomically. Raises Retryable, Abortable, Fenced or Fatal."""

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def write(self, block: OutBlock) -> None:
        """Add records to the open transaction."""
        ...

    def send_offsets(self, positions: Mapping[TopicPartition, Committed], group: GroupMetadata) -> None:
        """Add consumed positions (next offset to read, with metadata) to the open transaction, in one request."""
        ...

    def commit(self) -> None:
        """Make all of it visible at once; retries inside while the outcome is unknown."""
        ...

    def abort(self) -> None:
        """Drop all of it."""
        ...

    def close(self) -> None:
        """Release everything; an open transaction is aborted. Idempotent."""
        ...


class Refused(str):
    """The text of a delivery error that is the record's own fault: sending the record again cannot help."""

    __slots__ = ()


DeliveryCallback = Callable[[str | None], None]
"""Called once per record: None when the broker has it, else the error's text, `Refused` where that is for good."""


class Producer(Protocol):
    """Writes single records outside transactions (idempotent, acknowledged by all replicas)."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int,
        headers: Headers | None = None,
        partition: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> None:
        """Queue a record; without `partition` the key's murmur2 hash chooses it. Raises Retryable when full."""
        ...

    def flush(self, timeout_ms: int) -> int:
        """Wait for delivery; return how many records are still queued."""
        ...

    def close(self) -> None:
        """Flush for a moment and release everything. Idempotent."""
        ...


class Tailer(Protocol):
    """Follows all partitions of some topics without a group; committed records only."""

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return new records, waiting up to `timeout_ms` for the first."""
        ...

    def caught_up(self) -> bool:
        """Whether everything that was in the topics when the tailer was made has been returned."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent."""
        ...


class Broker(Protocol):
    """A connection to one cluster."""

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist; return the names of those created."""
        ...

    def group_consumer(self, group: str, topics: Sequence[str], *, name: str = "") -> StageConsumer:
        """Join a consumer group; assignment is co-partitioned (range).

        name: tells a worker from the others of its group, and stays the same when it is started again.
        """
        ...

    def held_by(self, group: str, name: str) -> list[TopicPartition]:
        """Return what a group holds for members of this name, be they dead; nothing if it does not tell."""
        ...

    def static_consumer(self, group: str, topics: Sequence[str]) -> StageConsumer:
        """Own all partitions of the topics, with offsets kept under `group`."""
        ...

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """Register a producer; an older one with the same id is fenced and its open transaction aborted."""
        ...

    def producer(self) -> Producer:
        """Open a plain producer."""
        ...

    def log(self) -> Log:
        """Open a read-only view."""
        ...

    def tailer(
        self, topics: Sequence[str], *, from_beginning: bool, starts: Mapping[TopicPartition, int] = ...
    ) -> Tailer:
        """Follow topics from their beginning or from their present end; partitions in `starts` from there."""
        ...
