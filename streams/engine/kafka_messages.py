"""Messages to blocks, without Python code per record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message

from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.errors import Retryable

CONSUME_MAX = 1_000_000
_timestamp_ms = itemgetter(1)


def take(consumer: Consumer, records_max: int, timeout_ms: int, gather_ms: int = 0) -> list[Message[Any, Any]]:
    """Return what is there at once; if nothing is, wait for the first and take what came with it.

    `consume` by itself waits out its timeout unless it is full, which would be the latency of a quiet topic.
    gather_ms: how long to wait for what comes right behind the first.
    """
    records_max = min(records_max, CONSUME_MAX)
    messages = consumer.consume(records_max, 0)
    if messages or timeout_ms <= 0:
        return messages
    messages = consumer.consume(1, timeout_ms / 1000)
    if messages and records_max > 1:
        messages += consumer.consume(records_max - 1, gather_ms / 1000)
    return messages


def split_errors(messages: list[Message[Any, Any]]) -> tuple[list[Message[Any, Any]], list[Message[Any, Any]]]:
    """Return (records, error events). Error events are rare: without any, nothing is copied."""
    if not any(map(Message.error, messages)):
        return messages, []
    records = [message for message in messages if message.error() is None]
    return records, [message for message in messages if message.error() is not None]


def ends(events: Iterable[Message[Any, Any]], prefix_length: int) -> Iterator[tuple[TopicPartition, int]]:
    """Yield the partitions whose end was reached, and where; raise the first true error.

    A retriable event (a broker that went away) is librdkafka's own business: it reconnects.
    """
    for event in events:
        error = event.error()
        if error is None:
            continue
        if error.code() == KafkaError._PARTITION_EOF:
            yield TopicPartition(str(event.topic())[prefix_length:], event.partition() or 0), event.offset() or 0
            continue
        translated = translate(error, "consume")
        if not isinstance(translated, Retryable) and error.code() != KafkaError._MAX_POLL_EXCEEDED:
            raise translated


def blocks(messages: Sequence[Message[Any, Any]], prefix_length: int) -> Iterator[Block]:
    """Yield one block for each partition; topic names lose their prefix.

    Messages of several partitions arrive interleaved, in runs of one or two when little is waiting. A block of each run
    would cost more than the records themselves.
    """
    of_partition: dict[tuple[Any, Any], list[Message[Any, Any]]] = {}
    for topic, of_topic in groupby(messages, Message.topic):
        for partition, run in groupby(of_topic, Message.partition):
            of_partition.setdefault((topic, partition), []).extend(run)
    for (topic, partition), records in of_partition.items():
        yield block(str(topic)[prefix_length:], partition or 0, records)


def block(topic: str, partition: int, run: list[Message[Any, Any]]) -> Block:
    """Return the block of a run of messages, all of one partition."""
    headers: Any = list(map(Message.headers, run))
    offsets: Any = list(map(Message.offset, run))
    return Block(
        topic,
        partition,
        offsets,
        list(map(Message.key, run)),
        list(map(Message.value, run)),
        list(map(_timestamp_ms, map(Message.timestamp, run))),
        headers if any(headers) else None,
    )


def pause_briefly() -> None:
    """Give librdkafka's threads a moment."""
    time.sleep(0.01)


class Deadline:
    """How much of a span of real time is left."""

    def __init__(self, timeout_ms: float) -> None:
        self._end = time.monotonic() + timeout_ms / 1000

    def left_ms(self) -> int:
        """Return the milliseconds left, not negative."""
        return max(0, round((self._end - time.monotonic()) * 1000))
