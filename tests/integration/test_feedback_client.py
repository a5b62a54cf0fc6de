"""The feedback client on a real Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.client.delivery import Undelivered
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.kafka_producer import KafkaProducer
from rheostat.streams.engine.kafka_settings import KafkaSettings
from rheostat.streams.errors import BrokerError, ConfigError

PARTITIONS = 4


def test_events_arrive_once_each_where_murmur2_says(make_kafka_broker: Callable[[], KafkaBroker]) -> None:
    broker = make_kafka_broker()
    broker.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
    with FeedbackClient(broker, source="shop") as client:
        sent = [client.click(f"prediction-{number}", "user", consent=True) for number in range(500)]
    found = {}
    for partition in range(PARTITIONS):
        for block in broker.log().read(catalogue.FEEDBACK_IMPLICIT, partition):
            for key, value, timestamp_ms in zip(block.keys, block.values, block.timestamps_ms, strict=True):
                record = decode_record(block.topic, value)
                assert key is not None
                assert partition == partition_for(key, PARTITIONS)
                assert timestamp_ms == record["occurred_at"]
                assert record["event_id"] not in found
                found[record["event_id"]] = record
    assert found == {event.event_id: event.record() for event in sent}


def test_a_record_the_broker_refuses_is_handed_back(make_kafka_broker: Callable[[], KafkaBroker]) -> None:
    broker = make_kafka_broker()
    broker.create_topics([TopicSpec(catalogue.FEEDBACK_EXPLICIT, 1, {"max.message.bytes": "2000"})])
    client = FeedbackClient(broker, source="shop")
    small = client.thumb("p", "u", up=True, consent=True)
    client.flush()  # alone, since a broker refuses batches rather than records
    large = client.thumb("p", "u", up=True, consent=True, text="".join(uuid.uuid4().hex for _ in range(250)))
    with pytest.raises(Undelivered) as raised:
        client.flush(30_000)
    assert [event for event, _ in raised.value.failed] == [large]
    assert raised.value.waiting == 0
    client.close()
    (block,) = broker.log().read(catalogue.FEEDBACK_EXPLICIT, 0)
    assert [decode_record(block.topic, value)["event_id"] for value in block.values] == [small.event_id]


def test_an_address_where_nobody_listens_is_an_error() -> None:
    """The port is bound by nobody: 1 is privileged and reserved."""
    with pytest.raises((ConfigError, BrokerError, Undelivered)):
        FeedbackClient("127.0.0.1:1", source="shop").flush(1)


@pytest.mark.timeout(60)
def test_closing_does_not_wait_for_a_broker_that_is_away_and_says_what_was_not_sent() -> None:
    """Left to itself the binding waits until messages time out, which takes five minutes."""
    producer = KafkaProducer(KafkaSettings("127.0.0.1:1"))
    reports: list[str | None] = []
    producer.send("topic", b"key", b"value", timestamp_ms=1, on_delivery=reports.append)
    producer.close()
    assert len(reports) == 1
    assert reports[0] is not None
