"""A broker in memory with the guarantees of Kafka that the engine relies on, for tests and simulations.

Transactions take offsets for their markers, aborted records stay invisible, readers stop at the first open
transaction, an older producer of a transactional id is fenced, groups assign co-partitioned ranges and refuse stale
members. Nothing happens by itself: a dead process is `expire`, a broker-side timeout is `time_out`, a network fault
is `fail_next`. Waits use real time (`timeout_ms`), everything else the given clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import Clock
from rheostat.streams.engine.block import Block, Headers, OutBlock, TopicPartition
from rheostat.streams.engine.broker import DeliveryCallback, StageConsumer, TopicSpec
from rheostat.streams.engine.memory_cluster import Cluster
from rheostat.streams.engine.memory_consumer import MemoryGroupConsumer, MemoryStaticConsumer, read_runs
from rheostat.streams.engine.memory_log import PartitionLog
from rheostat.streams.engine.memory_producer import MemoryTransactionalProducer
from rheostat.streams.engine.packed import Packed, packed
from rheostat.streams.engine.trim import skip_older
from rheostat.streams.errors import Abortable, Retryable

_READ_RECORDS = 10_000


class MemoryBroker:
    """A cluster of one process. Thread-safe.

    `wait_ms` bounds how long reads and committed positions wait for an open transaction before Retryable.
    """

    def __init__(self, clock: Clock, *, wait_ms: int = 5_000) -> None:
        self._cluster = Cluster(clock)
        self._wait_ms = wait_ms

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist; return the names of those created. Their config is ignored."""
        with self._cluster.fault("create_topics"):
            missing = [spec for spec in topics if spec.name not in self._cluster.topics]
            for spec in missing:
                self._cluster.topics[spec.name] = [PartitionLog(spec.name, p) for p in range(spec.partitions)]
            return [spec.name for spec in missing]

    def group_consumer(self, group: str, topics: Sequence[str], *, name: str = "") -> MemoryGroupConsumer:
        """Join a consumer group; assignment is co-partitioned (range)."""
        return MemoryGroupConsumer(self._cluster, group, topics, name, self._wait_ms)

    def held_by(self, group: str, name: str) -> list[TopicPartition]:
        """Return what a group holds for members of this name, be they dead."""
        with self._cluster.changed:
            return self._cluster.group(group).held_by(name)

    def static_consumer(self, group: str, topics: Sequence[str]) -> MemoryStaticConsumer:
        """Own all partitions of the topics, with offsets kept under `group`."""
        return MemoryStaticConsumer(self._cluster, group, topics, self._wait_ms)

    def transactional_producer(self, transactional_id: str) -> MemoryTransactionalProducer:
        """Register a producer; an older one with the same id is fenced and its open transaction aborted."""
        return MemoryTransactionalProducer(self._cluster, transactional_id)

    def producer(self) -> MemoryProducer:
        """Open a plain producer."""
        return MemoryProducer(self._cluster)

    def log(self) -> MemoryLog:
        """Open a read-only view."""
        return MemoryLog(self._cluster, self._wait_ms)

    def tailer(
        self, topics: Sequence[str], *, from_beginning: bool, starts: Mapping[TopicPartition, int] | None = None
    ) -> MemoryTailer:
        """Follow topics from their beginning or from their present end; partitions in `starts` from there."""
        return MemoryTailer(self._cluster, topics, from_beginning, starts or {})

    def expire(self, consumer: StageConsumer) -> None:
        """End a group member's session, as if its process had died; if it polls again, it joins anew."""
        if not isinstance(consumer, MemoryGroupConsumer):
            raise TypeError("only a group consumer of this broker has a session to expire")
        consumer.expire()

    def time_out(self, transactional_id: str) -> None:
        """Abort the open transaction of a producer that is too slow or dead, and fence it, as the broker does."""
        with self._cluster.changed:
            self._cluster.register(transactional_id)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Forget old records, as retention does."""
        with self._cluster.changed:
            self._cluster.log(topic, partition).delete_before(offset)

    def fail_next(self, operation: str, error: Exception, *, after: bool = False) -> None:
        """Make the next call of an operation raise `error`; with `after`, once it has taken effect.

        Operations: create_topics, poll, committed, begin, write, send_offsets, commit, abort, send, flush, read.
        Faults of one operation queue up.
        """
        with self._cluster.changed:
            self._cluster.inject(operation, error, after)


class MemoryProducer:
    """Writes single records outside transactions; delivery is immediate."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._unkeyed = 0

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
        """Write a record; without `partition` the key's murmur2 hash chooses it, keyless records take turns."""
        error = None
        with self._cluster.fault("send"):
            chosen = self._choose(topic, key) if partition is None else partition
            try:
                self._cluster.append(OutBlock(topic, chosen, [key], [value], [timestamp_ms], [headers]), None)
            except Abortable as refused:
                error = str(refused)
        if on_delivery is not None:
            on_delivery(error)

    def flush(self, timeout_ms: int) -> int:
        """Return 0: nothing is ever queued."""
        with self._cluster.fault("flush"):
            return 0

    def close(self) -> None:
        """Nothing to release."""

    def _choose(self, topic: str, key: bytes | None) -> int:
        partitions = self._cluster.partitions(topic)
        if key is not None:
            return partition_for(key, partitions)
        self._unkeyed += 1
        return self._unkeyed % partitions


class MemoryLog:
    """Read-only view of the topics, committed records only."""

    def __init__(self, cluster: Cluster, wait_ms: int) -> None:
        self._cluster = cluster
        self._wait_ms = wait_ms

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        with self._cluster.changed:
            return self._cluster.partitions(topic)

    def read(
        self,
        topic: str,
        partition: int,
        *,
        start_offset: int | None = None,
        since_ms: int | None = None,
        end_offset: int | None = None,
    ) -> Iterator[Block]:
        """Yield the committed records up to `end_offset` or the present high watermark. See `stage.Log`."""
        with self._cluster.fault("read"):
            self._cluster.partitions(topic)
            log = self._cluster.log(topic, partition)
            end = log.high_watermark if end_offset is None else min(end_offset, log.high_watermark)
            start = start_offset or 0
            if since_ms is not None:
                start = max(start, log.offset_since(since_ms))
        return self._blocks(log, start, end, since_ms)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the offset of a partition's first record, and its high watermark."""
        with self._cluster.changed:
            log = self._cluster.log(topic, partition)
            return log.low_watermark, log.high_watermark

    def read_packed(self, topic: str, partition: int, *, since_ms: int | None = None) -> Iterator[Packed]:
        """Yield values and times of the committed records up to the present high watermark. See `stage.Log`."""
        return map(packed, self.read(topic, partition, since_ms=since_ms))

    def _blocks(self, log: PartitionLog, position: int, end: int, since_ms: int | None) -> Iterator[Block]:
        while position < end:
            with self._cluster.changed:
                self._await_stable(log, position)
                block, position = log.read(position, _READ_RECORDS, end)
            if block is not None and since_ms is not None:
                block = skip_older(block, since_ms)
                since_ms = since_ms if block is None else None
            if block is not None:
                yield block

    def _await_stable(self, log: PartitionLog, position: int) -> None:
        if not self._cluster.wait(lambda: log.last_stable_offset > position, self._wait_ms):
            raise Retryable(f"a transaction stays open at {log.topic}[{log.partition}] offset {position}")


class MemoryTailer:
    """Follows all partitions of some topics without a group; committed records only."""

    def __init__(
        self, cluster: Cluster, topics: Sequence[str], from_beginning: bool, starts: Mapping[TopicPartition, int]
    ) -> None:
        self._cluster = cluster
        with cluster.changed:
            logs = [cluster.log(topic, p) for topic in topics for p in range(cluster.partitions(topic))]
            self._logs = {TopicPartition(log.topic, log.partition): log for log in logs}
            self._ends = {key: log.high_watermark for key, log in self._logs.items()}
        self._positions = {**(dict.fromkeys(self._logs, 0) if from_beginning else self._ends), **starts}

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return new records, waiting up to `timeout_ms` for the first."""
        with self._cluster.fault("poll"):
            blocks: list[Block] = []

            def ready() -> bool:
                blocks.extend(read_runs(self._logs, self._positions, records_max))
                return bool(blocks)

            self._cluster.wait(ready, timeout_ms)
            return blocks

    def caught_up(self) -> bool:
        """Whether everything that was in the topics when the tailer was made has been returned."""
        return all(self._positions[key] >= end for key, end in self._ends.items())

    def close(self) -> None:
        """Nothing to release."""
