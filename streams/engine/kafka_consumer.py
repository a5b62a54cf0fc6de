"""Consumers on Kafka: by group membership, or statically over all partitions. Offsets go by transactions only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import confluent_kafka as ck
from confluent_kafka import KafkaException

from rheostat.streams.engine import kafka_messages as wire
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.broker import GroupMetadata
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.engine.kafka_settings import KafkaSettings
from rheostat.streams.errors import Retryable

if TYPE_CHECKING:
    from rheostat.streams.engine.kafka_native import Run

# Callbacks fire inside consume; a newly assigned partition should not wait out a long poll.
_SLICE_MS = 50
_COMMITTED_TRIES = 10
_COMMITTED_TRY_S = 0.5
_SEEK_MS = 5_000


class _Consumer:
    """What both consumers share. Subclasses say how partitions begin to be fetched."""

    _gather_ms = 0
    """How long to wait for what comes right behind the first record."""

    def __init__(self, settings: KafkaSettings, conf: dict[str, object]) -> None:
        self._prefix = settings.prefix
        self._consumer = ck.Consumer(conf)
        self._owned: set[TopicPartition] = set()
        self._started: dict[TopicPartition, int] = {}
        self._assigned: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []
        self._metadata: GroupMetadata | None = None
        self._closed = False

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return at most `records_max` records as contiguous runs, waiting up to `timeout_ms` for the first."""
        deadline = wire.Deadline(timeout_ms)
        while True:
            taken = self._take(records_max, min(_SLICE_MS, deadline.left_ms()))
            found = [block for block in taken if TopicPartition(block.topic, block.partition) in self._started]
            if found or self._assigned or self._revoked or not deadline.left_ms():
                # Taken now: a membership asked for at commit time could be newer than the blocks.
                self._metadata = self._consumer.consumer_group_metadata()
                return found

    def take_assigned(self) -> list[TopicPartition]:
        """Return partitions assigned since the last call; they are paused until `start`."""
        taken, self._assigned = self._assigned, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        """Return partitions revoked or lost since the last call; state held for them must be dropped."""
        taken, self._revoked = self._revoked, []
        return taken

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Return stable committed positions; waits while a transaction on them is pending. Raises Retryable.

        librdkafka hides "unstable" behind a time-out, so it is asked with short ones.
        """
        asked = [self._on_wire(tp) for tp in partitions]
        for _ in range(_COMMITTED_TRIES):
            try:
                answer = self._consumer.committed(asked, timeout=_COMMITTED_TRY_S)
                return {self._of_wire(tp): _position(tp) for tp in answer}
            except KafkaException as error:
                translated = translate(error.args[0], "committed")
                if not isinstance(translated, Retryable):
                    raise translated from error
        raise Retryable("committed: a transaction on these partitions stays open, or the broker does not answer")

    def start(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Begin delivery of assigned partitions at these offsets (None: the beginning)."""
        wanted = {tp: offset for tp, offset in offsets.items() if tp in self._owned and tp not in self._started}
        if wanted:
            self._begin([self._on_wire(tp, offset) for tp, offset in wanted.items()])
            self._started.update({tp: offset or 0 for tp, offset in wanted.items()})

    def rewind(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Deliver again from these offsets; partitions no longer owned are ignored."""
        for tp, offset in offsets.items():
            if tp in self._started:
                self._seek(self._on_wire(tp, offset))
                self._started[tp] = offset or 0

    def lag(self) -> int:
        """Return how many offsets the owned partitions are behind the end of the log, as last known."""
        behind = 0
        for position in self._consumer.position([self._on_wire(tp) for tp in self._started]):
            _, high = self._consumer.get_watermark_offsets(position, cached=True)
            at = position.offset if position.offset >= 0 else self._started[self._of_wire(position)]
            behind += max(0, high - at)
        return behind

    def group_metadata(self) -> GroupMetadata:
        """Return the membership as of the last poll."""
        return self._metadata or self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave the group and release everything. Idempotent."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def _take(self, records_max: int, timeout_ms: int) -> list[Block]:
        messages = wire.take(self._consumer, records_max, timeout_ms, self._gather_ms)
        records, events = wire.split_errors(messages)
        for _ in wire.ends(events, len(self._prefix)):
            pass
        return list(wire.blocks(records, len(self._prefix)))

    def _begin(self, positions: list[ck.TopicPartition]) -> None:
        self._consumer.incremental_assign(positions)

    def _seek(self, position: ck.TopicPartition) -> None:
        """Move a fetched partition; just after an assignment librdkafka refuses for a moment."""
        deadline = wire.Deadline(_SEEK_MS)
        while True:
            try:
                self._consumer.seek(position)
            except KafkaException as error:
                translated = translate(error.args[0], f"seek {position.topic}[{position.partition}]")
                if error.args[0].code() != ck.KafkaError._STATE or not deadline.left_ms():
                    raise translated from error
                wire.pause_briefly()
            else:
                return

    def _on_wire(self, tp: TopicPartition, offset: int | None = None) -> ck.TopicPartition:
        # Offset 0 stands for the beginning: where retention removed it, auto.offset.reset finds what is left. The
        # logical OFFSET_BEGINNING would cost half a second while the broker is not connected yet.
        return ck.TopicPartition(self._prefix + tp.topic, tp.partition, offset or 0)

    def _of_wire(self, tp: ck.TopicPartition) -> TopicPartition:
        return TopicPartition(tp.topic[len(self._prefix) :], tp.partition)


def _position(answer: ck.TopicPartition) -> Committed:
    if answer.error is not None:
        raise translate(answer.error, f"committed {answer.topic}[{answer.partition}]")
    if answer.offset < 0:
        return Committed(None, "")
    return Committed(answer.offset, answer.metadata or "")


class KafkaStaticConsumer(_Consumer):
    """Owns all partitions of its topics from the start; never joins the group its offsets are kept under.

    A transaction over several partitions is told of one by one: what its first partition brings is not taken alone.
    """

    _gather_ms = 5

    def __init__(self, settings: KafkaSettings, group: str, partitions: Iterable[TopicPartition]) -> None:
        super().__init__(settings, settings.follower(group, eof=False))
        self._assigned = sorted(partitions)
        self._owned = set(self._assigned)


class KafkaPackedConsumer(KafkaStaticConsumer):
    """A static consumer whose blocks have their keys and values as `PackedBytes`, fetched by a client of its own.

    The client of confluent-kafka keeps the offsets of the group. Making one raises ImportError where `kafka_native`
    cannot be used.
    """

    def __init__(self, settings: KafkaSettings, group: str, partitions: Iterable[TopicPartition]) -> None:
        from rheostat.streams.engine.kafka_native import NativeConsumer

        super().__init__(settings, group, partitions)
        self._native = NativeConsumer(settings.follower(group, eof=False))

    def rewind(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Deliver again from these offsets; partitions no longer owned are ignored."""
        again = {tp: offset or 0 for tp, offset in offsets.items() if tp in self._started}
        if again:
            self._native.unassign(map(self._named, again))
            self._native.assign({self._named(tp): offset for tp, offset in again.items()})
            self._started.update(again)

    def lag(self) -> int:
        """Return how many offsets the owned partitions are behind the end of the log, as last known."""
        return sum(max(0, self._native.high(self._named(tp)) - at) for tp, at in self._started.items())

    def close(self) -> None:
        """Release everything. Idempotent."""
        if not self._closed:
            self._native.close()
        super().close()

    def _take(self, records_max: int, timeout_ms: int) -> list[Block]:
        # What the group's client has to say: an error that does not pass, or a line for the log.
        super()._take(1, 0)
        runs, events = self._native.take(records_max, timeout_ms, self._gather_ms)
        for event in events:
            if not isinstance(translated := translate(event.error, "consume"), Retryable):
                raise translated
        return [self._block(run) for run in runs]

    def _block(self, run: Run) -> Block:
        at = TopicPartition(run.at.topic[len(self._prefix) :], run.at.partition)
        offsets = run.offsets.tolist()
        if at in self._started:
            self._started[at] = offsets[-1] + 1
        return Block(*at, offsets, run.keys, run.values, run.timestamps_ms.tolist(), run.headers)

    def _begin(self, positions: list[ck.TopicPartition]) -> None:
        self._native.assign({TopicPartition(tp.topic, tp.partition): tp.offset for tp in positions})

    def _named(self, tp: TopicPartition) -> TopicPartition:
        return TopicPartition(self._prefix + tp.topic, tp.partition)


def static_consumer(settings: KafkaSettings, group: str, partitions: Sequence[TopicPartition]) -> KafkaStaticConsumer:
    """Own partitions; their blocks are packed where that can be done."""
    try:
        return KafkaPackedConsumer(settings, group, partitions)
    except ImportError:
        return KafkaStaticConsumer(settings, group, partitions)


class KafkaGroupConsumer(_Consumer):
    """A member of a consumer group.

    protocol "consumer": assignment is incremental, and a partition is given to librdkafka only at `start`, with its
    offset. protocol "classic" (eager range): librdkafka wants the whole assignment at once, so it is paused there.
    """

    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str], name: str) -> None:
        super().__init__(settings, settings.member(group, name))
        self._eager = settings.protocol == "classic"
        self._consumer.subscribe(
            [self._prefix + topic for topic in topics],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        if self._eager:
            # An explicit position: with stored ones librdkafka refuses to seek while they are unstable.
            paused = [self._on_wire(self._of_wire(tp)) for tp in partitions]
            consumer.assign(paused)
            consumer.pause(paused)
        else:
            consumer.incremental_assign([])
        assigned = [self._of_wire(tp) for tp in partitions]
        self._owned.update(assigned)
        self._assigned.extend(assigned)

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign([tp for tp in partitions if self._of_wire(tp) in self._started])
        gone = {self._of_wire(tp) for tp in partitions}
        self._revoked.extend(sorted(gone.difference(self._assigned)))
        self._assigned = [tp for tp in self._assigned if tp not in gone]
        self._owned -= gone
        self._started = {tp: offset for tp, offset in self._started.items() if tp not in gone}

    def _begin(self, positions: list[ck.TopicPartition]) -> None:
        if not self._eager:
            super()._begin(positions)
            return
        for position in positions:
            self._seek(position)
        self._consumer.resume(positions)
