"""The gateway over HTTP: 202 means safe, 400 names the field, 503 says when to come again."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.signals import KINDS
from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.identity import EventIds
from rheostat.streams.client.spool import SpoolSettings
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Headers
from rheostat.streams.engine.broker import DeliveryCallback, Producer, Refused, TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import ConfigError, Retryable
from rheostat.streams.gateway.courier import AcknowledgedCourier, Courier, SpoolCourier
from rheostat.streams.gateway.http import HttpSettings, build_app
from rheostat.streams.gateway.requests import BadRequest, parse_request
from rheostat.streams.metrics import Metrics
from tests.support.http_client import AppClient

NOW_MS = 1_760_000_000_000
ONE = {"kind": "thumb", "value": 0, "prediction_id": "p", "subject_id": "u", "source": "shop", "consent": True}
PARTITIONS = 4


class Gateway:
    """A gateway in front of a broker in memory, or of another producer."""

    def __init__(self, producer: Producer | None = None, courier: Courier | None = None, **limits: Any) -> None:
        self.clock = ManualClock(NOW_MS)
        self.broker = MemoryBroker(self.clock)
        self.broker.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
        self.registry = CollectorRegistry()
        self.courier = courier or AcknowledgedCourier(
            producer or self.broker.producer(),
            limits.pop("in_flight_max", 1_000),
            limits.pop("acknowledge_timeout_ms", 30_000),
        )
        settings = HttpSettings(**limits)
        self.app = build_app(
            self.courier, EventIds(), Metrics(self.registry), self.registry, self.clock, settings, lifespan=None
        )
        self.http = AppClient(self.app)

    def post(self, body: object, **options: Any) -> httpx.Response:
        return self.http.post("/feedback", json=body, **options)

    def records(self) -> list[dict[str, Any]]:
        log = self.broker.log()
        blocks = [b for topic in catalogue.FEEDBACK for p in range(PARTITIONS) for b in log.read(topic, p)]
        return [decode_record(block.topic, value) for block in blocks for value in block.values]

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"rheostat_gateway_{name}", labels) or 0.0


class Answering:
    """A producer whose broker answers each record as told: None, an error, or not at all until `release`."""

    def __init__(self, answer: str | None = None, silent: bool = False) -> None:
        self.answer, self.silent = answer, silent
        self.waiting: list[DeliveryCallback] = []
        self.closed = threading.Event()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int,
        headers: Headers | None = None,
        partition: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> None:
        assert on_delivery is not None
        self.waiting.append(on_delivery)

    def flush(self, timeout_ms: int) -> int:
        if not self.silent:
            waiting, self.waiting = self.waiting, []
            for report in waiting:
                report(self.answer)
        else:
            self.closed.wait(timeout_ms / 1000)
        return len(self.waiting)

    def close(self) -> None:
        self.closed.set()


def test_an_event_is_on_its_topic_when_202_is_answered() -> None:
    gateway = Gateway()
    full = {
        **ONE,
        **{"target_id": "t", "certainty": 0.5, "segment": "de", "text": "no", "occurred_at": NOW_MS - 7},
    }
    answer = gateway.post({**full, "event_id": "mine"})
    assert (answer.status_code, answer.json()) == (202, {"event_id": "mine"})
    assert gateway.records() == [{**full, "event_id": "mine", "value": 0.0, "retracts": None}]


def test_every_kind_is_accepted_and_kinds_that_just_happen_need_no_value() -> None:
    gateway = Gateway()
    values = {"correction": 0.5, "thumb": 1, "rating": 4, "dwell": 2.5}
    events = [
        {**ONE, "kind": kind, "value": values.get(kind), "retracts": None, "channel": None}
        for kind in KINDS
        if kind != "retraction"
    ]
    events.append({**ONE, "kind": "retraction", "value": None, "retracts": "e", "channel": "outcome"})
    answer = gateway.post({"events": events})
    assert answer.status_code == 202
    assert sorted(each["kind"] for each in gateway.records()) == sorted(KINDS)
    assert sorted(answer.json()["event_ids"]) == sorted(each["event_id"] for each in gateway.records())
    assert gateway.sample("events_total") == len(KINDS)


def test_a_repeated_request_repeats_its_ids() -> None:
    gateway = Gateway()
    batch = {"events": [ONE, {**ONE, "value": 1}, {**ONE, "prediction_id": None, "idempotency_key": "k"}]}
    assert gateway.post(batch).json() == gateway.post(batch).json()
    assert gateway.post(ONE).json() == {"event_id": gateway.post(batch).json()["event_ids"][0]}


def test_the_idempotency_key_of_a_request_identifies_what_nothing_else_does() -> None:
    gateway = Gateway()
    batch = {"events": [{**ONE, "prediction_id": None}, {**ONE, "prediction_id": None}, {**ONE, "event_id": "own"}]}
    ids = [gateway.post(batch, headers={"idempotency-key": key}).json()["event_ids"] for key in ("a", "a", "b")]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 5
    assert gateway.post(batch).json() != gateway.post(batch).json()


WRONG = [
    ("kind", {"kind": "like"}),
    ("kind", {"kind": None}),
    ("kind", {"kind": ["thumb"]}),
    ("value", {"value": 2}),
    ("value", {"value": "1"}),
    ("value", {"value": True}),
    ("value", {"value": None}),
    ("value", {"value": 10**400}),
    ("consent", {"consent": None}),
    ("consent", {"consent": "yes"}),
    ("consent", {"consent": 1}),
    ("source", {"source": None}),
    ("source", {"source": ""}),
    ("prediction_id", {"prediction_id": None, "subject_id": None}),
    ("prediction_id", {"prediction_id": 7}),
    ("subject_id", {"subject_id": "\ud800"}),
    ("certainty", {"certainty": 1.5}),
    ("text", {"text": "x" * 8_193}),
    ("occurred_at", {"occurred_at": 1.5}),
    ("occurred_at", {"occurred_at": NOW_MS + 300_001}),
    ("occurred_at", {"occurred_at": 2**63}),
    ("retracts", {"kind": "retraction", "channel": "explicit", "value": None}),
    ("channel", {"kind": "retraction", "value": None, "retracts": "e"}),
    ("event_id", {"event_id": "x" * 129}),
    ("idempotency_key", {"idempotency_key": ""}),
    ("idempotency_key", {"idempotency_key": "k", "event_id": "e"}),
    ("payload", {"target_id": "x" * 70_000}),
    ("novelty", {"novelty": 1}),
]


@pytest.mark.parametrize(("field", "changes"), WRONG)
def test_400_names_the_field_and_in_a_batch_the_index_and_nothing_is_sent(field: str, changes: dict[str, Any]) -> None:
    gateway = Gateway()
    wrong = json.dumps({**ONE, **changes})
    single = gateway.http.post("/feedback", content=wrong)
    batch = gateway.http.post("/feedback", content=f'{{"events": [{json.dumps(ONE)}, {wrong}]}}')
    assert (single.status_code, single.json()["field"]) == (400, field)
    assert "index" not in single.json()
    assert (batch.status_code, batch.json()["field"], batch.json()["index"]) == (400, f"events[1].{field}", 1)
    assert batch.json()["error"] == single.json()["error"]
    assert gateway.records() == []
    assert gateway.sample("requests_total", route="/feedback", status="400") == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("", "body"),
        ("not json", "body"),
        ("[" * 100_000, "body"),
        ("[]", "body"),
        ('{"events": []}', "events"),
        ('{"events": {}}', "events"),
        ('{"events": [1]}', "events[0]"),
        ('{"events": [], "kind": "thumb"}', "kind"),
    ],
)
def test_a_body_of_another_form_is_refused(body: str, field: str) -> None:
    answer = Gateway().http.post("/feedback", content=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_bounds_hold_for_bodies_and_batches() -> None:
    gateway = Gateway(bytes_max=2_000, batch_max=3)
    assert gateway.post({"events": [ONE] * 3}).status_code == 202
    too_many = gateway.post({"events": [ONE] * 4})
    assert (too_many.status_code, too_many.json()["field"]) == (413, "events")
    for content in (b" " * 2_001, [b" " * 1_000] * 3):
        too_long = gateway.http.post("/feedback", content=content)
        assert (too_long.status_code, too_long.json()["field"]) == (413, "body")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ONE, "events"]), inner, max_size=4),
    max_leaves=12,
)


@given(json_values | st.fixed_dictionaries({name: json_values | st.just(value) for name, value in ONE.items()}))
def test_any_json_is_parsed_or_refused_by_name(body: object) -> None:
    try:
        assert parse_request(body, 10, EventIds(), NOW_MS).events
        return
    except BadRequest as error:
        refused = error
    assert refused.field
    assert refused.reason


@pytest.mark.parametrize("answer", ["Local: Message timed out", Refused("Broker: Message size too large")])
def test_what_the_broker_did_not_take_is_503_and_says_when_to_come_again(answer: str) -> None:
    gateway = Gateway(Answering(answer), retry_after_s=7)
    reply = gateway.post({"events": [ONE, ONE]})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
    assert f"refused 2 of 2 events: {answer}" in reply.json()["error"]
    assert gateway.http.get("/healthz").status_code == 503
    assert gateway.courier.waiting() == 0


def test_a_broker_that_does_not_answer_is_503_and_the_number_that_waits_is_bounded() -> None:
    producer = Answering(silent=True)
    gateway = Gateway(producer, acknowledge_timeout_ms=20, in_flight_max=3)
    assert "did not answer within 20 ms" in gateway.post({"events": [ONE] * 2}).json()["error"]
    assert gateway.http.get("/healthz").json()["waiting"] == 2
    turned_away = gateway.post({"events": [ONE] * 2})
    assert (turned_away.status_code, len(producer.waiting)) == (503, 2)
    assert "2 events wait for Kafka already, at most 3 may" in turned_away.json()["error"]
    assert gateway.post(ONE).status_code == 503
    assert len(producer.waiting) == 3
    producer.silent = False
    gateway.courier.close()
    assert producer.closed.is_set()


def test_an_answer_that_comes_late_frees_its_place_and_the_gateway_recovers() -> None:
    producer = Answering(silent=True)
    gateway = Gateway(producer, acknowledge_timeout_ms=1_000, in_flight_max=1)
    assert gateway.post(ONE).status_code == 503
    for report in producer.waiting:
        report(None)
    producer.waiting.clear()
    producer.silent = False
    assert gateway.post(ONE).status_code == 202
    assert gateway.http.get("/healthz").json() == {"status": "ok", "waiting": 0}


def test_a_producer_that_is_full_is_503_and_nothing_keeps_waiting() -> None:
    gateway = Gateway()
    gateway.broker.fail_next("send", Retryable("the send queue stays full"))
    assert gateway.post(ONE).status_code == 503
    assert gateway.courier.waiting() == 0
    assert gateway.post(ONE).status_code == 202


def test_requests_at_once_each_wait_for_their_own_answers() -> None:
    gateway = Gateway()

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app), base_url="http://gateway") as client:
            posts = [
                client.post("/feedback", json={"events": [{**ONE, "prediction_id": f"p-{n}-{i}"} for i in range(5)]})
                for n in range(40)
            ]
            return await asyncio.gather(*posts)

    answers = asyncio.run(ask())
    told = [each for answer in answers for each in answer.json()["event_ids"]]
    assert {answer.status_code for answer in answers} == {202}
    assert sorted(told) == sorted(each["event_id"] for each in gateway.records())
    assert len(set(told)) == 200


def test_with_a_spool_202_means_on_disk_while_kafka_is_away(tmp_path: Path) -> None:
    def away() -> Producer:
        raise ConfigError("no Kafka broker answers")

    delivery = SpooledDelivery(SpoolSettings(tmp_path, bytes_max=4_096), away)
    gateway = Gateway(courier=SpoolCourier(delivery))
    assert gateway.post({"events": [ONE] * 3}).status_code == 202
    assert gateway.http.get("/healthz").json() == {"status": "ok", "waiting": 3}
    full = gateway.post({"events": [ONE] * 20})
    assert (full.status_code, "retry-after" in full.headers) == (503, True)
    assert "may not exceed 4096 bytes" in full.json()["error"]
    assert gateway.http.get("/healthz").status_code == 503
    waiting = gateway.courier.waiting()
    gateway.courier.close()
    again = SpooledDelivery(SpoolSettings(tmp_path, bytes_max=4_096), gateway.broker.producer)
    assert again.flush(30_000) == again.close() == 0
    assert len(gateway.records()) == waiting


def test_keys_guard_feedback_only() -> None:
    gateway = Gateway(api_keys=("one", "two"))
    assert gateway.post(ONE).status_code == 401
    assert gateway.post(ONE, headers={"authorization": "Bearer three"}).status_code == 401
    assert gateway.post(ONE, headers={"authorization": "Bearer two"}).status_code == 202
    assert gateway.http.get("/healthz").status_code == 200
    assert len(gateway.records()) == 1


def test_metrics_are_served() -> None:
    gateway = Gateway()
    gateway.post(ONE)
    text = gateway.http.get("/metrics").text
    assert 'rheostat_gateway_requests_total{route="/feedback",status="202"} 1.0' in text
    assert "rheostat_gateway_events_total 1.0" in text
    assert "rheostat_gateway_waiting_events 0.0" in text
