"""Bad input on a real Kafka: each bad record becomes one dead letter that says what is wrong; its neighbours go on."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import StageLoop
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.provision import create_topics
from tests.support.brokers import await_condition

YEAR_1970_MS = 1_000
YEAR_2090_MS = 3_800_000_000_000


def an_event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4().hex,
        "prediction_id": "p-1",
        "subject_id": "u-1",
        "target_id": "t-1",
        "kind": "thumb",
        "value": 1.0,
        "certainty": None,
        "segment": None,
        "text": None,
        "retracts": None,
        "occurred_at": WallClock().now_ms(),
        "source": "test",
        "consent": True,
    } | changes


def encoded(**changes: Any) -> bytes:
    return codec.encode_record(catalogue.FEEDBACK_EXPLICIT, an_event(**changes))


def without_its_last_field() -> bytes:
    return encoded()[:-1]


BAD: dict[str, tuple[bytes, str]] = {
    "undecodable bytes": (b"\x00\x00\x00\x00\x02 this is not avro", "prediction_id"),
    "unknown schema id": (b"\x00\x00\x00\x27\x0f" + encoded()[5:], "payload"),
    "missing field": (without_its_last_field(), "consent"),
    "not a number": (encoded(value=math.nan), "value"),
    "a date in 1970": (encoded(occurred_at=YEAR_1970_MS), "occurred_at"),
    "a date in 2090": (encoded(occurred_at=YEAR_2090_MS), "occurred_at"),
    "10 MB": (encoded(text="x" * 10_000_000), "payload"),
    "an unknown kind": (encoded(kind="shrug"), "kind"),
}


def test_every_kind_of_bad_record_is_set_aside_with_its_reason(make_kafka_broker: Callable[[], KafkaBroker]) -> None:
    broker = make_kafka_broker()
    create_topics(broker, 2, 1)
    producer = broker.producer()
    good = 0
    for name, (value, _) in BAD.items():
        for _ in range(2):
            good += 1
            producer.send(
                catalogue.FEEDBACK_EXPLICIT,
                b"p-1",
                encoded(),
                timestamp_ms=WallClock().now_ms(),
            )
        # The record's own time is what the bad sender's clock says.
        at_ms = {"a date in 1970": YEAR_1970_MS, "a date in 2090": YEAR_2090_MS}.get(name, WallClock().now_ms())
        producer.send(catalogue.FEEDBACK_EXPLICIT, name.encode(), value, timestamp_ms=at_ms)
    assert producer.flush(60_000) == 0
    settings = IntakeSettings(pseudonym_key=b"k" * 32)
    loop = StageLoop(IntakeStage(settings), broker, slot="0", clock=WallClock())
    consumed = 0

    def everything_is_read() -> bool:
        nonlocal consumed
        consumed += loop.step()
        return consumed == good + len(BAD)

    await_condition(everything_is_read, "intake has read all records")
    loop.close()
    letters = {record["key"].decode(): record for record in read(broker, catalogue.DEADLETTER)}
    assert letters.keys() == BAD.keys()
    for name, (value, field) in BAD.items():
        assert letters[name]["payload"] == value
        assert letters[name]["field"] == field, letters[name]["error"]
        assert letters[name]["error"]
    assert len(read(broker, catalogue.LEDGER)) == good


def read(broker: KafkaBroker, topic: str) -> list[dict[str, Any]]:
    log = broker.log()
    return [
        codec.decode_record(topic, value)
        for number in range(log.partitions(topic))
        for block in log.read(topic, number)
        for value in block.values
    ]
