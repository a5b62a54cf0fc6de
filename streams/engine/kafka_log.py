"""Reading Kafka's topics without a group: once up to their end, or on and on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import confluent_kafka as ck
from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from rheostat.streams.engine import kafka_messages as wire
from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.kafka_errors import attempt, persist
from rheostat.streams.engine.kafka_settings import KafkaSettings
from rheostat.streams.engine.packed import Packed, packed, since
from rheostat.streams.engine.trim import before, skip_older
from rheostat.streams.errors import ConfigError, Retryable

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_READ_RECORDS = 5_000
_QUEUE_KB = 16_384
"""How much a packed read fetches ahead; librdkafka's default is four times that, of which nothing is gained."""
_SLICE_MS = 100
# A read waits for open transactions below the high watermark; brokers abort hanging ones within this.
_STALL_MS = 60_000
_CALL_TIMEOUT_S = 10.0
NO_STARTS: Mapping[TopicPartition, int] = {}


class Offsets:
    """What the cluster knows of partitions: how many, and where they begin and end."""

    def __init__(self, settings: KafkaSettings, admin: AdminClient) -> None:
        self._prefix = settings.prefix
        self._admin = admin

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, or raise ConfigError."""
        # All topics are asked for: asking for one by name may create it.
        listed = persist(lambda: self._admin.list_topics(timeout=_CALL_TIMEOUT_S), "list topics", 30.0)
        found = listed.topics.get(self._prefix + topic)
        if found is None or found.error is not None:
            raise ConfigError(f"topic {self._prefix + topic!r} does not exist: create it first")
        return len(found.partitions)

    def all_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return every partition of the topics."""
        return [TopicPartition(topic, p) for topic in topics for p in range(self.partitions(topic))]

    def low(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the logs begin."""
        return self._query(dict.fromkeys(partitions, _EARLIEST))

    def high(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the high watermarks (not the last stable offsets, which may lag behind a commit)."""
        return self._query(dict.fromkeys(partitions, _LATEST))

    def since(self, partition: TopicPartition, since_ms: int) -> int | None:
        """Return the first offset whose time is at least this, markers included; None if there is none."""
        offset = self._query({partition: OffsetSpec.for_timestamp(since_ms)})[partition]
        return None if offset < 0 else offset

    def _query(self, specs: Mapping[TopicPartition, OffsetSpec]) -> dict[TopicPartition, int]:
        if not specs:
            return {}
        asked = {ck.TopicPartition(self._prefix + tp.topic, tp.partition): spec for tp, spec in specs.items()}

        def call() -> dict[TopicPartition, int]:
            futures = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_CALL_TIMEOUT_S
            )
            return {
                TopicPartition(tp.topic[len(self._prefix) :], tp.partition): future.result().offset
                for tp, future in futures.items()
            }

        return persist(call, "list offsets", 30.0)


class KafkaLog:
    """Read-only view of the topics, committed records only."""

    def __init__(self, settings: KafkaSettings, offsets: Offsets) -> None:
        self._settings = settings
        self._offsets = offsets

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        return self._offsets.partitions(topic)

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
        tp = TopicPartition(topic, partition)
        start, end = self._bounds(tp, start_offset, since_ms, end_offset)
        return self._blocks(tp, start, end, since_ms)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the offset of a partition's first record, and its high watermark."""
        tp = TopicPartition(topic, partition)
        return self._offsets.low([tp])[tp], self._offsets.high([tp])[tp]

    def read_packed(self, topic: str, partition: int, *, since_ms: int | None = None) -> Iterator[Packed]:
        """Yield values and times of the committed records up to the present high watermark. See `stage.Log`."""
        tp = TopicPartition(topic, partition)
        start, end = self._bounds(tp, None, since_ms, None)
        try:
            from rheostat.streams.engine.kafka_packed import packed_until
        except ImportError:
            return map(packed, self._blocks(tp, start, end, since_ms))
        if start >= end:
            return iter(())
        settings = self._settings.reader("rheostat-log", eof=True)
        del settings["logger"]
        # Nobody reads what the client would print; a read that gets nothing says so itself.
        conf = {"queued.max.messages.kbytes": _QUEUE_KB, **settings, "log_level": 2}
        on_wire = TopicPartition(self._settings.prefix + topic, partition)
        return since(packed_until(conf, on_wire, start, end, _STALL_MS), since_ms)

    def _bounds(
        self, tp: TopicPartition, start_offset: int | None, since_ms: int | None, end_offset: int | None
    ) -> tuple[int, int]:
        """Return the offset to start at, and the one to stop before."""
        high = self._offsets.high([tp])[tp]
        end = high if end_offset is None else min(end_offset, high)
        start = start_offset or 0
        if since_ms is not None:
            found = self._offsets.since(tp, since_ms)
            start = end if found is None else max(start, found)
        return start, end

    def _blocks(self, tp: TopicPartition, start: int, end: int, since_ms: int | None) -> Iterator[Block]:
        if start >= end:
            return
        prefix = self._settings.prefix
        consumer = ck.Consumer(self._settings.reader("rheostat-log", eof=True))
        try:
            consumer.assign([ck.TopicPartition(prefix + tp.topic, tp.partition, start)])
            for block in _until(consumer, tp, len(prefix), end):
                kept = before(block, end)
                if kept is not None and since_ms is not None:
                    kept = skip_older(kept, since_ms)
                    since_ms = since_ms if kept is None else None
                if kept is not None:
                    yield kept
        finally:
            consumer.close()


def _until(consumer: ck.Consumer, tp: TopicPartition, prefix_length: int, end: int) -> Iterator[Block]:
    """Yield blocks until a record or the partition's end shows that everything before `end` was delivered.

    Records alone do not show it: the last offsets may be control records.
    """
    stall = wire.Deadline(_STALL_MS)
    while stall.left_ms():
        messages = attempt(lambda: wire.take(consumer, _READ_RECORDS, _SLICE_MS), "read")
        records, events = wire.split_errors(messages)
        if records:
            stall = wire.Deadline(_STALL_MS)
            block = wire.block(tp.topic, tp.partition, records)
            # Before the block is used: the next messages then take the place of these in the processor's cache.
            del messages, records
            yield block
            if block.next_offset >= end:
                return
        if any(offset >= end for _, offset in wire.ends(events, prefix_length)):
            return
    raise Retryable(f"read: nothing for {_STALL_MS / 1000:.0f} s before offset {end}: a transaction stays open")


class KafkaTailer:
    """Follows all partitions of some topics without a group; committed records only."""

    def __init__(
        self,
        settings: KafkaSettings,
        offsets: Offsets,
        topics: Sequence[str],
        from_beginning: bool,
        starts: Mapping[TopicPartition, int] = NO_STARTS,
    ) -> None:
        self._prefix = settings.prefix
        partitions = offsets.all_of(topics)
        high = offsets.high(partitions)
        low = {**(offsets.low(partitions) if from_beginning else high), **starts}
        # What was there at the start and has not been returned yet, by partition: the offset to reach.
        self._missing = {tp: high[tp] for tp in partitions if low[tp] < high[tp]}
        self._consumer = ck.Consumer(settings.follower("rheostat-tailer", eof=True))
        self._consumer.assign(
            [ck.TopicPartition(self._prefix + t, p, low[TopicPartition(t, p)]) for t, p in partitions]
        )
        self._closed = False

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return new records, waiting up to `timeout_ms` for the first, or for having caught up."""
        deadline = wire.Deadline(timeout_ms)
        while True:
            behind = bool(self._missing)
            messages = attempt(lambda: wire.take(self._consumer, records_max, deadline.left_ms()), "tail")
            records, events = wire.split_errors(messages)
            found = list(wire.blocks(records, len(self._prefix)))
            for block in found:
                self._reached(TopicPartition(block.topic, block.partition), block.next_offset)
            for tp, offset in wire.ends(events, len(self._prefix)):
                self._reached(tp, offset)
            if found or (behind and not self._missing) or not deadline.left_ms():
                return found

    def caught_up(self) -> bool:
        """Whether everything that was in the topics when the tailer was made has been returned."""
        return not self._missing

    def close(self) -> None:
        """Release everything. Idempotent."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def _reached(self, tp: TopicPartition, offset: int) -> None:
        if offset >= self._missing.get(tp, offset + 1):
            del self._missing[tp]
