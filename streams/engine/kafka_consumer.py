"""Consumers on Kafka: by group membership, or statically over all partitions. Offsets go by transactions only.

Membership and records go by separate clients: one is in the group and keeps its offsets, but fetches nothing; another
fetches what was assigned and started (see `kafka_fetch`). So nothing that was fetched waits in the first one's queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import confluent_kafka as ck
from confluent_kafka import KafkaException

from rheostat.streams.engine import kafka_messages as wire
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.broker import GroupMetadata
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.engine.kafka_fetch import fetcher
from rheostat.streams.engine.kafka_settings import KafkaSettings
from rheostat.streams.errors import Retryable

# Callbacks fire inside consume; a newly assigned partition should not wait out a long poll.
_SLICE_MS = 50
_COMMITTED_TRIES = 10
_COMMITTED_TRY_S = 0.5


class _Consumer:
    """What both consumers share."""

    _gather_ms = 0
    """How long to wait for what comes right behind the first record."""

    def __init__(self, settings: KafkaSettings, conf: dict[str, object], fetch: dict[str, object]) -> None:
        self._prefix = settings.prefix
        self._consumer = ck.Consumer(conf)
        self._fetcher = fetcher(settings.prefix, fetch)
        self._owned: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._assigned: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []
        self._metadata: GroupMetadata | None = None
        self._closed = False

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return at most `records_max` records as contiguous runs, waiting up to `timeout_ms` for the first."""
        deadline = wire.Deadline(timeout_ms)
        while True:
            self._follow_group()
            # What was assigned or revoked must not wait for records.
            wait_ms = 0 if self._assigned or self._revoked else min(_SLICE_MS, deadline.left_ms())
            found = self._fetcher.take(records_max, wait_ms, self._gather_ms)
            if found or self._assigned or self._revoked or not deadline.left_ms():
                # Taken now: a membership asked for at commit time could be newer than the blocks.
                self._metadata = self._consumer.consumer_group_metadata()
                for block in found:
                    self._next[TopicPartition(block.topic, block.partition)] = block.next_offset
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
        """Begin delivery of assigned partitions at these offsets (None: the beginning).

        Offset 0 stands for the beginning: where retention removed it, auto.offset.reset finds what is left. The logical
        OFFSET_BEGINNING would cost half a second while the broker is not connected yet.
        """
        wanted = {tp: at or 0 for tp, at in offsets.items() if tp in self._owned and tp not in self._next}
        self._fetch(wanted)

    def rewind(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Deliver again from these offsets; partitions no longer owned are ignored."""
        again = {tp: at or 0 for tp, at in offsets.items() if tp in self._next}
        self._stop_fetching(again)
        self._fetch(again)

    def lag(self) -> int:
        """Return how many offsets the owned partitions are behind the end of the log, as last known."""
        return sum(max(0, self._fetcher.high(tp) - at) for tp, at in self._next.items())

    def group_metadata(self) -> GroupMetadata:
        """Return the membership as of the last poll."""
        return self._metadata or self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave the group and release everything. Idempotent."""
        if not self._closed:
            self._closed = True
            # Leaving the group revokes, which asks the fetcher to stop.
            self._consumer.close()
            self._fetcher.close()

    def _follow_group(self) -> None:
        """Let callbacks fire, and hear of errors; records never come this way."""
        _, events = wire.split_errors(self._consumer.consume(1, 0))
        for _ in wire.ends(events, len(self._prefix)):
            pass

    def _fetch(self, positions: Mapping[TopicPartition, int]) -> None:
        if positions:
            self._fetcher.assign(positions)
            self._next.update(positions)

    def _stop_fetching(self, partitions: Iterable[TopicPartition]) -> None:
        fetched = [tp for tp in partitions if tp in self._next]
        if fetched:
            self._fetcher.unassign(fetched)
        for tp in fetched:
            del self._next[tp]

    def _on_wire(self, tp: TopicPartition) -> ck.TopicPartition:
        return ck.TopicPartition(self._prefix + tp.topic, tp.partition, 0)

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
        super().__init__(settings, settings.reader(group, eof=False), settings.follower(group, eof=False))
        self._assigned = sorted(partitions)
        self._owned = set(self._assigned)


class KafkaGroupConsumer(_Consumer):
    """A member of a consumer group, which holds what it is assigned paused for ever: records come by the fetcher.

    protocol "consumer": assignment is incremental. protocol "classic" (eager range): librdkafka wants the whole
    assignment at once.
    """

    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str], name: str) -> None:
        super().__init__(settings, settings.member(group, name), settings.fetcher(group, name))
        self._eager = settings.protocol == "classic"
        self._consumer.subscribe(
            [self._prefix + topic for topic in topics],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        assigned = [self._of_wire(tp) for tp in partitions]
        # An explicit position: that of the group is asked for when tasks are opened, and may be unstable for a while.
        paused = [self._on_wire(tp) for tp in assigned]
        if self._eager:
            consumer.assign(paused)
        else:
            consumer.incremental_assign(paused)
        consumer.pause(paused)
        self._owned.update(assigned)
        self._assigned.extend(assigned)

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign(partitions)
        gone = {self._of_wire(tp) for tp in partitions}
        self._revoked.extend(sorted(gone.difference(self._assigned)))
        self._assigned = [tp for tp in self._assigned if tp not in gone]
        self._owned -= gone
        self._stop_fetching(gone)
