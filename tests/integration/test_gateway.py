"""`rheostat gateway` as a process, on a real Kafka and without one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.children import Child, Children
from rheostat.streams.local.process import free_ports

PARTITIONS = 4
ONE = {"kind": "click", "subject_id": "u", "source": "shop", "consent": True}
NOBODY = "127.0.0.1:1"


@contextmanager
def gateway(folder: Path, *arguments: str) -> Iterator[tuple[httpx.Client, Child]]:
    """Run a gateway and give a client for it."""
    (port,) = free_ports(1)
    with Children(folder) as children:
        child = children.start("gateway", ["gateway", "--port", str(port), *arguments])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            children.wait_until(lambda: answers(client), "the gateway answers", 60)
            yield client, child


def answers(client: httpx.Client) -> bool:
    """Whether the gateway is up and well."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def event_ids(broker: KafkaBroker) -> list[str]:
    """The ids on the topic of clicks; each must lie where its key belongs."""
    found = []
    for partition in range(PARTITIONS):
        for block in broker.log().read(catalogue.FEEDBACK_IMPLICIT, partition):
            for key, value in zip(block.keys, block.values, strict=True):
                assert partition == partition_for(key or b"", PARTITIONS)
                found.append(str(decode_record(block.topic, value)["event_id"]))
    return found


@pytest.fixture
def named(make_kafka_broker: Callable[[], KafkaBroker]) -> KafkaBroker:
    """A broker with the feedback topics."""
    broker = make_kafka_broker()
    broker.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
    return broker


def test_what_is_answered_with_202_is_on_the_topic(named: KafkaBroker, kafka: str, tmp_path: Path) -> None:
    prefix = named._settings.prefix
    with gateway(tmp_path, "--bootstrap", kafka, "--set", f"kafka.prefix={prefix}") as (client, child):
        told: list[str] = []
        for number in range(20):
            batch = [{**ONE, "prediction_id": f"p-{number}-{row}"} for row in range(50)]
            answer = client.post("/feedback", json={"events": batch})
            assert answer.status_code == 202
            told += answer.json()["event_ids"]
            assert set(told) == set(event_ids(named)), "acknowledged before it is answered"
        wrong = client.post("/feedback", json={**ONE, "prediction_id": "p", "value": 7})
        assert (wrong.status_code, wrong.json()["field"]) == (400, "value")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(30) == 0
    assert len(told) == len(set(told)) == 1_000
    assert sorted(event_ids(named)) == sorted(told)


def test_without_kafka_a_gateway_with_a_spool_accepts_and_another_start_sends(
    named: KafkaBroker, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with gateway(tmp_path, "--bootstrap", NOBODY, "--set", f"gateway.spool_dir={spool}") as (client, child):
        batch = {"events": [{**ONE, "prediction_id": f"p-{row}"} for row in range(50)]}
        answer = client.post("/feedback", json=batch)
        assert answer.status_code == 202
        child.process.kill()
        child.process.wait()
    with FeedbackClient(named, source="shop", spool=spool) as sender:
        assert sender.flush(60_000) == 0
    assert sorted(event_ids(named)) == sorted(answer.json()["event_ids"])


def test_without_kafka_and_without_a_spool_it_says_so_and_ends(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("gateway", ["gateway", "--port", "0", "--bootstrap", NOBODY])
        assert child.process.wait(60) == 1
        assert f"rheostat: no Kafka broker answers at {NOBODY}" in child.last_lines(1)
