"""A pipeline that goes by a registry: real processes, a real Kafka, a real registry, and clients of two versions."""

from __future__ import annotations

import copy
import uuid
from pathlib import Path

from rheostat.schemas.catalogue import DEADLETTER, FEEDBACK_EXPLICIT, LEDGER
from rheostat.schemas.codec import decode_record
from rheostat.schemas.documents import document, names
from rheostat.schemas.layouts import Layout
from rheostat.schemas.record_codec import header_of
from rheostat.schemas.registry import Registry
from rheostat.streams.bench.load import SCHEMA
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import prepare
from rheostat.streams.provision import create_topics
from tests.support.feedback import event, key_of
from tests.unit.schemas.older import value_of

DEADLINE_S = 60.0


def values_in(broker: Broker, topic: str) -> list[bytes]:
    return [value or b"" for block in broker.log().read(topic, 0) for value in block.values]


def test_intake_reads_clients_of_two_versions_and_writes_the_registrys_ids(
    kafka: str, registry: str, tmp_path: Path
) -> None:
    prefix = f"schemas-{uuid.uuid4().hex[:8]}."
    target = Registry(registry, prefix)
    avro = copy.deepcopy(dict(document(FEEDBACK_EXPLICIT)))
    avro["fields"] = [field for field in avro["fields"] if field["name"] not in ("text", "certainty")]
    older, older_id = Layout(FEEDBACK_EXPLICIT, avro), target.register(FEEDBACK_EXPLICIT, avro)
    ids = {name: target.register(name) for name in names()}
    broker = KafkaBroker(kafka, prefix=prefix)
    create_topics(broker, 1, 1)
    settings: dict[str, dict[str, object]] = {"kafka": {"data_partitions": 1}, "registry": {"url": registry}}
    pipeline = prepare(tmp_path, kafka, SCHEMA, ("intake",), prefix=prefix, settings=settings)
    with Children(tmp_path) as children:
        pipeline.restart(children, "intake")
        old = {**event("from-old"), "occurred_at": WallClock().now_ms()}
        known = {field["name"]: old[field["name"]] for field in avro["fields"]}
        producer = broker.producer()
        for number in (older_id, 2**31):
            value = value_of(older, number, known)
            producer.send(FEEDBACK_EXPLICIT, key_of(old), value, timestamp_ms=old["occurred_at"], partition=0)
        producer.close()
        with FeedbackClient(broker, source="shop", registry=registry, prefix=prefix) as client:
            sent = client.thumb("p-1", "u-1", up=True, consent=True)
        children.wait_until(
            lambda: len(values_in(broker, LEDGER)) + len(values_in(broker, DEADLETTER)) == 3, "all are in", DEADLINE_S
        )
    table = target.id_table()
    entries, letters = values_in(broker, LEDGER), values_in(broker, DEADLETTER)
    assert all(value.startswith(header_of(ids[LEDGER])) for value in entries)
    found = [decode_record(LEDGER, value, ids=table)["event_id"] for value in entries]
    assert found == ["from-old", sent.event_id]
    (letter,) = letters
    assert "schema id 2147483648 is not known" in decode_record(DEADLETTER, letter, ids=table)["error"]
