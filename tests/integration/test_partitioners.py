"""Services with other partitioners and keys on a real Kafka: duplicates are found and feedback meets its prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import confluent_kafka as ck
import pytest

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import WallClock
from rheostat.streams.conservation import read_books
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import StageLoop
from rheostat.streams.engine.stage import Stage
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.intake_join import IntakeJoinStage
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.provision import create_topics
from tests.support.brokers import await_condition
from tests.support.feedback import KEY, encoded, event
from tests.support.join_records import prediction

PARTITIONS = 5
EVENTS = 100
SENDERS = {
    "Java's murmur2": {"partitioner": "murmur2_random"},
    "librdkafka's CRC32": {"partitioner": "consistent_random"},
    "none at all": {"partitioner": "random"},
}


def stages(fused: bool) -> list[Stage]:
    settings = IntakeSettings(KEY)
    if fused:
        return [IntakeJoinStage(settings, JoinSettings())]
    return [IntakeStage(settings), JoinStage(JoinSettings())]


@pytest.mark.parametrize("fused", [False, True])
def test_every_event_counts_once_whoever_sends_it(
    fused: bool, kafka: str, make_kafka_broker: Callable[[], KafkaBroker]
) -> None:
    broker = make_kafka_broker()
    create_topics(broker, PARTITIONS, 1)
    now_ms = WallClock().now_ms()
    predictions = broker.producer()
    for number in range(EVENTS):
        value = codec.encode_record(catalogue.PREDICTIONS, prediction(f"p{number}", now_ms))
        predictions.send(catalogue.PREDICTIONS, f"p{number}".encode(), value, timestamp_ms=now_ms)
    assert predictions.flush(30_000) == 0
    topic = broker._settings.prefix + catalogue.FEEDBACK_EXPLICIT
    for settings in SENDERS.values():
        sender = ck.Producer({"bootstrap.servers": kafka, **settings})
        for number in range(EVENTS):
            record = event(f"e{number}", prediction_id=f"p{number}", occurred_at=now_ms)
            # One service does not even use the key of the contract.
            key = b"" if settings["partitioner"] == "random" else f"p{number}".encode()
            sender.produce(topic, encoded(record), key, timestamp=now_ms)
        assert sender.flush(30) == 0

    loops = [StageLoop(stage, broker, slot="0", clock=WallClock()) for stage in stages(fused)]

    def all_joined() -> bool:
        for loop in loops:
            loop.step()
        return len(read(broker, catalogue.EXAMPLES)) == EVENTS and read_books(broker).events == len(SENDERS) * EVENTS

    await_condition(all_joined, "every event has become one example")
    for loop in loops:
        loop.close()
    entries = read(broker, catalogue.LEDGER)
    assert sorted(entry["event_id"] for _, entry in entries) == sorted(f"e{number}" for number in range(EVENTS))
    assert all(number == partition_for(entry["prediction_id"].encode(), PARTITIONS) for number, entry in entries)
    books = read_books(broker)
    assert books.balanced
    assert books.total("duplicate") == (len(SENDERS) - 1) * EVENTS
    assert books.total("forwarded") > EVENTS // 2


def read(broker: KafkaBroker, topic: str) -> list[tuple[int, dict[str, Any]]]:
    log = broker.log()
    return [
        (number, codec.decode_record(topic, value))
        for number in range(log.partitions(topic))
        for block in log.read(topic, number)
        for value in block.values
    ]
