"""Feedback events for tests: records, blocks of them, and ways to read what intake made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record, encode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.engine.broker import Broker, TopicSpec

NOW_MS = 1_760_000_000_000
KEY = b"a test's pseudonym key, 32 bytes"
OUTPUTS = (catalogue.LEDGER, catalogue.CORRECTIONS, catalogue.QUARANTINE, catalogue.DEADLETTER)


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    """A valid thumb up; `fields` replace what is given."""
    return {
        "event_id": event_id,
        "prediction_id": f"p-{event_id}",
        "subject_id": "user-1",
        "target_id": "item-1",
        "kind": "thumb",
        "value": 1.0,
        "certainty": None,
        "segment": None,
        "text": None,
        "retracts": None,
        "occurred_at": NOW_MS,
        "source": "web",
        "consent": True,
        **fields,
    }


def encoded(record: Mapping[str, Any], topic: str = catalogue.FEEDBACK_EXPLICIT) -> bytes:
    """The record as it lies on its topic."""
    return encode_record(topic, record)


def key_of(record: Mapping[str, Any]) -> bytes:
    """The key the contract asks for."""
    return str(record["prediction_id"] or record["subject_id"]).encode()


def block_of(
    values: Sequence[bytes | None],
    *,
    topic: str = catalogue.FEEDBACK_EXPLICIT,
    partition: int = 0,
    first_offset: int = 0,
    keys: Sequence[bytes | None] | None = None,
) -> Block:
    """Values as one block; every second offset is a control record's."""
    offsets = [first_offset + 2 * i for i in range(len(values))]
    return Block(topic, partition, offsets, keys or [b"k"] * len(values), values, [NOW_MS] * len(values))


def block_of_events(events: Sequence[Mapping[str, Any]], topic: str = catalogue.FEEDBACK_EXPLICIT) -> Block:
    """Events as one block of partition 0, each under its own key."""
    return block_of([encoded(each, topic) for each in events], topic=topic, keys=[key_of(each) for each in events])


def records_of(outputs: Iterable[OutBlock], topic: str) -> list[dict[str, Any]]:
    """The decoded records that were written to a topic."""
    return [decode_record(topic, value or b"") for out in outputs if out.topic == topic for value in out.values]


def create_topics(broker: Broker, partitions: int) -> None:
    """Create the topics of intake."""
    broker.create_topics(
        [
            TopicSpec(topic, partitions)
            for topic in (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED, catalogue.ALARMS, *OUTPUTS)
        ]
    )


def publish_events(
    broker: Broker, topic: str, partitions: int, events: Iterable[Mapping[str, Any]], *, shift: int = 0
) -> None:
    """Write events to the partitions that their keys ask for, or `shift` further."""
    producer = broker.producer()
    for each in events:
        key = key_of(each)
        producer.send(
            topic,
            key,
            encoded(each, topic),
            timestamp_ms=each["occurred_at"],
            partition=(partition_for(key, partitions) + shift) % partitions,
        )
    assert producer.flush(30_000) == 0
    producer.close()
