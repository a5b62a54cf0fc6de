"""The client side of the embedded broker: the classic group protocol, quick joins, and two shortcomings made good.

It forgets the metadata of committed offsets, which stages need to open where they stopped. So each commit also writes
it, within the same transaction, into a topic of its own, keyed by group, partition and offset.

It lists as a log's end the first offset of the last batch, plus one. So the end is found by reading that batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from rheostat.streams.engine import kafka_messages as wire
from rheostat.streams.engine.block import Committed, OutBlock, TopicPartition
from rheostat.streams.engine.broker import GroupMetadata, TopicSpec
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.kafka_consumer import KafkaGroupConsumer, KafkaStaticConsumer
from rheostat.streams.engine.kafka_log import KafkaLog, Offsets
from rheostat.streams.engine.kafka_producer import KafkaTransactionalProducer
from rheostat.streams.engine.kafka_settings import KafkaSettings, Setting
from rheostat.streams.errors import Retryable

NOTES = "embedded.offset-metadata"
# A join takes half the session timeout there.
CONSUMER_OVERRIDES: Mapping[str, Setting] = {
    "session.timeout.ms": 2_000,
    "heartbeat.interval.ms": 300,
    # It answers a fetch for more bytes than there are with nothing.
    "fetch.min.bytes": 1,
    # Fetches that wait for long make it stop answering now and then.
    "fetch.wait.max.ms": 15,
}
_NOTES_LOOKED_AT = 20_000
_ENDS_TIMEOUT_MS = 10_000


def embedded_kafka_broker(
    bootstrap: str, *, prefix: str = "", overrides: Mapping[str, Setting] | None = None
) -> KafkaBroker:
    """Open a broker connection with what the embedded broker needs."""
    return _EmbeddedKafkaBroker(
        bootstrap, prefix=prefix, protocol="classic", overrides=overrides, consumer_overrides=CONSUMER_OVERRIDES
    )


@dataclass(frozen=True, slots=True)
class _Membership:
    group: str
    proof: GroupMetadata


class _Notes:
    """The metadata of committed offsets, by group, partition and offset."""

    def __init__(self, settings: KafkaSettings, offsets: Offsets) -> None:
        self._offsets = offsets
        self._log = KafkaLog(settings, offsets)

    def complete(self, group: str, committed: Mapping[TopicPartition, Committed]) -> dict[TopicPartition, Committed]:
        """Return positions with the metadata they were committed with; the latest note of a position counts."""
        if all(at.offset is None for at in committed.values()):
            return dict(committed)
        notes = TopicPartition(NOTES, 0)
        start = self._offsets.high([notes])[notes] - _NOTES_LOOKED_AT
        found = {
            key: value
            for block in self._log.read(NOTES, 0, start_offset=max(0, start))
            for key, value in zip(block.keys, block.values, strict=True)
        }
        return {
            tp: at if at.offset is None else Committed(at.offset, (found.get(_key(group, tp, at)) or b"").decode())
            for tp, at in committed.items()
        }


def _key(group: str, tp: TopicPartition, at: Committed) -> bytes:
    return f"{group}|{tp.topic}|{tp.partition}|{at.offset}".encode()


class _EmbeddedOffsets(Offsets):
    def __init__(self, settings: KafkaSettings, admin: AdminClient) -> None:
        super().__init__(settings, admin)
        self._settings = settings

    def high(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the logs end, by reading the batch that the listed ends point into."""
        listed = super().high(partitions)
        ends: dict[TopicPartition, int] = {tp: end for tp, end in listed.items() if end == 0}
        prefix = self._settings.prefix
        # What is committed behind another's open transaction counts: whoever reads up to the end waits for that one.
        reader = {**self._settings.reader("rheostat-ends", eof=True), "isolation.level": "read_uncommitted"}
        consumer = ck.Consumer(reader)
        try:
            consumer.assign(
                [ck.TopicPartition(prefix + tp.topic, tp.partition, end - 1) for tp, end in listed.items() if end]
            )
            deadline = wire.Deadline(_ENDS_TIMEOUT_MS)
            while ends.keys() != listed.keys():
                found = wire.take(consumer, wire.CONSUME_MAX, deadline.left_ms())
                records, events = wire.split_errors(found)
                # Not on to the end of what is written meanwhile, which may take for ever.
                for block in wire.blocks(records, len(prefix)):
                    ends.setdefault(TopicPartition(block.topic, block.partition), block.next_offset)
                for tp, end in wire.ends(events, len(prefix)):
                    ends.setdefault(tp, end)
                if not deadline.left_ms():
                    raise Retryable("the ends of the logs could not be read")
        finally:
            consumer.close()
        return ends


class _EmbeddedProducer(KafkaTransactionalProducer):
    def send_offsets(self, positions: Mapping[TopicPartition, Committed], group: GroupMetadata) -> None:
        """Add consumed positions to the open transaction, their metadata as records."""
        if not isinstance(group, _Membership):
            raise TypeError("group metadata of another broker")
        keys = [_key(group.group, tp, at) for tp, at in positions.items()]
        values = [at.metadata.encode() for at in positions.values()]
        self.write(OutBlock(NOTES, 0, keys, values, [0] * len(keys)))
        super().send_offsets(positions, group.proof)


class _EmbeddedGroupConsumer(KafkaGroupConsumer):
    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str], name: str, notes: _Notes) -> None:
        super().__init__(settings, group, topics, name)
        self._group = group
        self._notes = notes

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Return committed positions, with metadata from the notes."""
        return self._notes.complete(self._group, super().committed(partitions))

    def group_metadata(self) -> GroupMetadata:
        """Return the membership as of the last poll."""
        return _Membership(self._group, super().group_metadata())


class _EmbeddedStaticConsumer(KafkaStaticConsumer):
    def __init__(
        self, settings: KafkaSettings, group: str, partitions: Sequence[TopicPartition], notes: _Notes
    ) -> None:
        super().__init__(settings, group, partitions)
        self._group = group
        self._notes = notes

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Return committed positions, with metadata from the notes."""
        return self._notes.complete(self._group, super().committed(partitions))

    def group_metadata(self) -> GroupMetadata:
        """Return a membership outside the group."""
        return _Membership(self._group, super().group_metadata())


class _EmbeddedKafkaBroker(KafkaBroker):
    def group_consumer(self, group: str, topics: Sequence[str], *, name: str = "") -> KafkaGroupConsumer:
        """Join a consumer group; assignment is co-partitioned (range)."""
        self._offsets().all_of(topics)
        return _EmbeddedGroupConsumer(self._settings, group, topics, name, self._notes())

    def held_by(self, group: str, name: str) -> list[TopicPartition]:
        """Return nothing: a predecessor is not fenced here, and may still be at work on what it holds."""
        return []

    def static_consumer(self, group: str, topics: Sequence[str]) -> KafkaStaticConsumer:
        """Own all partitions of the topics, with offsets kept under `group`."""
        return _EmbeddedStaticConsumer(self._settings, group, self._offsets().all_of(topics), self._notes())

    def transactional_producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        """Register a producer; an older one with the same id is fenced."""
        self._notes()
        return _EmbeddedProducer(self._settings, transactional_id)

    def _offsets(self) -> Offsets:
        return _EmbeddedOffsets(self._settings, self._connected())

    def _notes(self) -> _Notes:
        self.create_topics([TopicSpec(NOTES, 1)])
        return _Notes(self._settings, self._offsets())
