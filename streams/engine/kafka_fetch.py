"""Fetching records of given partitions, by a client that is in no group; committed records only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import confluent_kafka as ck

from rheostat.streams.engine import kafka_messages as wire
from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.errors import Retryable

if TYPE_CHECKING:
    from rheostat.streams.engine.kafka_native import Run


class Fetcher(Protocol):
    """Fetches partitions, each from where it is told. Topics are named without the cluster's prefix."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin to fetch partitions that are not fetched yet, at these offsets."""
        ...

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop to fetch partitions; what was fetched of them and not taken is dropped."""
        ...

    def take(self, records_max: int, timeout_ms: int, gather_ms: int) -> list[Block]:
        """Return what is there at once, one block for each partition; if nothing is, wait for the first record.

        gather_ms: how long to wait for what comes right behind the first. Raises what `translate` makes of an error
        that does not pass by itself.
        """
        ...

    def high(self, at: TopicPartition) -> int:
        """Return the high watermark as last heard of; below 0 before anything was fetched."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def fetcher(prefix: str, conf: Mapping[str, object]) -> Fetcher:
    """Open a fetcher; its blocks have `PackedBytes` for keys and values where librdkafka can be called directly."""
    try:
        return _NativeFetcher(prefix, conf)
    except ImportError:
        return _ClientFetcher(prefix, conf)


class _NativeFetcher:
    def __init__(self, prefix: str, conf: Mapping[str, object]) -> None:
        from rheostat.streams.engine.kafka_ahead import AheadConsumer
        from rheostat.streams.engine.kafka_native import NativeConsumer

        self._prefix = prefix
        self._consumer = AheadConsumer(NativeConsumer(conf))

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign({self._named(tp): offset for tp, offset in positions.items()})

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        self._consumer.unassign(map(self._named, partitions))

    def take(self, records_max: int, timeout_ms: int, gather_ms: int) -> list[Block]:
        runs, events = self._consumer.take(records_max, timeout_ms, gather_ms)
        for event in events:
            if not isinstance(translated := translate(event.error, "fetch"), Retryable):
                raise translated
        return [self._block(run) for run in runs]

    def high(self, at: TopicPartition) -> int:
        return self._consumer.high(self._named(at))

    def close(self) -> None:
        self._consumer.close()

    def _block(self, run: Run) -> Block:
        topic = run.at.topic[len(self._prefix) :]
        times_ms = run.timestamps_ms.tolist()
        return Block(topic, run.at.partition, run.offsets.tolist(), run.keys, run.values, times_ms, run.headers)

    def _named(self, tp: TopicPartition) -> TopicPartition:
        return TopicPartition(self._prefix + tp.topic, tp.partition)


class _ClientFetcher:
    def __init__(self, prefix: str, conf: Mapping[str, object]) -> None:
        self._prefix = prefix
        self._consumer = ck.Consumer(dict(conf))

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._consumer.incremental_assign([self._on_wire(tp, offset) for tp, offset in positions.items()])

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        self._consumer.incremental_unassign([self._on_wire(tp) for tp in partitions])

    def take(self, records_max: int, timeout_ms: int, gather_ms: int) -> list[Block]:
        messages = wire.take(self._consumer, records_max, timeout_ms, gather_ms)
        records, events = wire.split_errors(messages)
        for _ in wire.ends(events, len(self._prefix)):
            pass
        return list(wire.blocks(records, len(self._prefix)))

    def high(self, at: TopicPartition) -> int:
        _, high = self._consumer.get_watermark_offsets(self._on_wire(at), cached=True)
        return int(high)

    def close(self) -> None:
        self._consumer.close()

    def _on_wire(self, tp: TopicPartition, offset: int = 0) -> ck.TopicPartition:
        return ck.TopicPartition(self._prefix + tp.topic, tp.partition, offset)
