"""The feedback client's spool, with a real Kafka that is away at first and a process that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.client.delivery import Undelivered
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.kafka import KafkaBroker

PARTITIONS = 4
EVENTS = 400
TOPICS = [TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK]

SERVICE = """
import sys
from rheostat.streams.client.feedback import FeedbackClient

client = FeedbackClient("127.0.0.1:1", source="shop", spool=sys.argv[1])
number = 0
while True:
    event = client.click(f"prediction-{number}", "user", consent=True)
    print(event.event_id, flush=True)
    number += 1
"""
"""A service without a Kafka (nobody listens on port 1) that says which events were accepted, until it is killed."""


def arrived(broker: KafkaBroker) -> list[list[str]]:
    """The event ids in every partition, in order; each must lie where its key belongs."""
    found: list[list[str]] = []
    for partition in range(PARTITIONS):
        ids = []
        for block in broker.log().read(catalogue.FEEDBACK_IMPLICIT, partition):
            for key, value in zip(block.keys, block.values, strict=True):
                assert key is not None
                assert partition == partition_for(key, PARTITIONS)
                ids.append(decode_record(block.topic, value)["event_id"])
        found.append(ids)
    return found


def killed_service(folder: Path) -> list[str]:
    """Run the service until it has accepted some events, kill it with no warning, and return the accepted ids."""
    command = [sys.executable, "-c", SERVICE, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        ids = [process.stdout.readline().strip() for _ in range(EVENTS)]
        process.send_signal(signal.SIGKILL)
        ids += [line.strip() for line in process.stdout if line.endswith("\n")]
    return ids


def test_events_of_a_killed_service_arrive_once_each_and_in_order(
    make_kafka_broker: Callable[[], KafkaBroker], tmp_path: Path
) -> None:
    broker = make_kafka_broker()
    broker.create_topics(TOPICS)
    accepted = killed_service(tmp_path)
    with FeedbackClient(broker, source="shop", spool=tmp_path) as client:
        left = client.spooled()
        assert left is not None
        assert len(accepted) <= left.waiting <= len(accepted) + 1, "at most one was written and not yet said"
        after = client.click("prediction-after", "user", consent=True)
        assert client.flush(60_000) == 0
        assert client.close() == 0
    found = arrived(broker)
    together = [each for ids in found for each in ids]
    assert len(together) == len(set(together))
    assert set(together) >= {*accepted, after.event_id}
    place = {event_id: row for row, event_id in enumerate([*accepted, *(set(together) - set(accepted))])}
    said = [[each for each in ids if each in set(accepted)] for ids in found]
    assert said == [sorted(ids, key=place.__getitem__) for ids in said]


def test_events_wait_for_topics_that_are_created_later(
    make_kafka_broker: Callable[[], KafkaBroker], tmp_path: Path
) -> None:
    """A broker that answers but cannot take the events is away as well: nothing is given up."""
    broker = make_kafka_broker()
    client = FeedbackClient(broker, source="shop", spool=tmp_path)
    sent = [client.click(f"prediction-{number}", "user", consent=True) for number in range(50)]
    assert client.flush(1_500) == 50
    broker.create_topics(TOPICS)
    assert client.flush(60_000) == 0
    assert client.close() == 0
    together = [each for ids in arrived(broker) for each in ids]
    assert sorted(set(together)) == sorted(event.event_id for event in sent)


def test_a_record_the_broker_refuses_for_good_is_handed_back_and_its_neighbours_arrive(
    make_kafka_broker: Callable[[], KafkaBroker], tmp_path: Path
) -> None:
    broker = make_kafka_broker()
    client = FeedbackClient(broker, source="shop", spool=tmp_path)
    long = "".join(uuid.uuid4().hex for _ in range(250))
    events = [
        client.click("p", f"user-{number}", consent=True, text=long if number == 5 else None) for number in range(10)
    ]
    broker.create_topics([TopicSpec(catalogue.FEEDBACK_IMPLICIT, PARTITIONS, {"max.message.bytes": "4000"})])
    stats = client.spooled()
    assert stats is not None
    assert stats.waiting == 10
    with pytest.raises(Undelivered) as raised:
        client.flush(60_000)
    assert [event for event, _ in raised.value.failed] == [events[5]]
    assert client.close() == 0
    together = {each for ids in arrived(broker) for each in ids}
    assert together == {event.event_id for event in events} - {events[5].event_id}
