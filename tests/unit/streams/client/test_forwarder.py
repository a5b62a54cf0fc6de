"""Spooled delivery: nothing is lost, order is kept, only what can never be sent is given up."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.streams.client.delivery import Undelivered
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.spool import Spool, SpoolSettings
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Headers
from rheostat.streams.engine.broker import DeliveryCallback, Refused, TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import ConfigError, Fatal, Retryable

NOW_MS = 1_760_000_000_000
WAIT_MS = 30_000


class Wire:
    """A producer that keeps what arrives; `answer` says what becomes of a record: None, an error, or an exception."""

    def __init__(self, answer: Callable[[str, int], str | None] = lambda event_id, batch: None) -> None:
        self.arrived: list[str] = []
        self.closed = 0
        self._answer = answer
        self._queued: list[tuple[str, DeliveryCallback]] = []

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
        self._queued.append((decode_record(topic, value)["event_id"], on_delivery))

    def flush(self, timeout_ms: int) -> int:
        queued, self._queued = self._queued, []
        for event_id, report in queued:
            error = self._answer(event_id, len(queued))
            if error is None:
                self.arrived.append(event_id)
            report(error)
        return 0

    def close(self) -> None:
        self.closed += 1


def an_event(event_id: str) -> Feedback:
    """A valid event."""
    return Feedback(
        kind="thumb",
        value=1.0,
        prediction_id="p",
        subject_id="u",
        consent=True,
        source="shop",
        occurred_at=NOW_MS,
        event_id=event_id,
    )


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rheostat.streams.client.forwarder._RETRY_S", 0.01)
    monkeypatch.setattr("rheostat.streams.client.forwarder._LEAVE_S", 0.01)


@pytest.fixture
def settings(tmp_path: Path) -> SpoolSettings:
    """A spool of its own."""
    return SpoolSettings(tmp_path / "spool")


def test_events_leave_in_order_and_the_spool_is_empty(settings: SpoolSettings) -> None:
    wire = Wire()
    delivery = SpooledDelivery(settings, lambda: wire)
    ids = [f"e{n}" for n in range(2_500)]
    for each in ids:
        delivery.queue(an_event(each))
    assert delivery.flush(WAIT_MS) == 0
    assert (delivery.close(), wire.arrived, wire.closed) == (0, ids, 1)


def test_what_kafka_does_not_take_now_is_sent_until_it_does(settings: SpoolSettings) -> None:
    """A hundred failures at arbitrary records: nothing is lost, each comes first in its place, ids are kept."""
    failures = iter([*(n % 3 == 0 for n in range(300))])
    wire = Wire(lambda event_id, batch: "Local: Message timed out" if next(failures, False) else None)
    delivery = SpooledDelivery(settings, lambda: wire)
    ids = [f"e{n}" for n in range(50)]
    for each in ids:
        delivery.queue(an_event(each))
    assert delivery.flush(WAIT_MS) == 0
    delivery.close()
    assert set(wire.arrived) == set(ids)
    lasts = sorted(ids, key=lambda each: len(wire.arrived) - wire.arrived[::-1].index(each))
    assert lasts == ids, "of what is sent again, the last copy is in order too"


def test_a_client_that_broke_is_replaced(settings: SpoolSettings) -> None:
    wires: list[Wire] = []

    def connect() -> Wire:
        if len(wires) == 0:
            wires.append(Wire())
            raise ConfigError("no Kafka broker answers")
        if len(wires) == 1:
            wires.append(Wire(lambda event_id, batch: _raise(Fatal("fenced"))))
        else:
            wires.append(Wire())
        return wires[-1]

    delivery = SpooledDelivery(settings, connect)
    delivery.queue(an_event("e"))
    assert delivery.flush(WAIT_MS) == 0
    delivery.close()
    assert [(wire.arrived, wire.closed) for wire in wires] == [([], 0), ([], 1), (["e"], 1)]


def test_a_record_that_is_refused_for_good_is_told_and_its_batch_arrives(settings: SpoolSettings) -> None:
    """A broker refuses whole batches: `bad` alone is refused for good, the others only together with it."""
    with_bad = threading.Event()

    def answer(event_id: str, batch: int) -> str | None:
        return Refused("Broker: Message size too large") if event_id == "bad" or batch > 1 else None

    wire = Wire(answer)
    told: list[tuple[str, str]] = []

    def connect() -> Wire:
        with_bad.wait()
        return wire

    delivery = SpooledDelivery(settings, connect, lambda event, error: told.append((event.event_id, error)))
    for each in ("a", "bad", "b"):
        delivery.queue(an_event(each))
    with_bad.set()
    delivery._spool.wait_until_empty(WAIT_MS / 1000)
    with pytest.raises(Undelivered, match="1 events were not delivered, 0 are still waiting") as raised:
        delivery.flush(WAIT_MS)
    assert [event.event_id for event, _ in raised.value.failed] == ["bad"]
    assert (wire.arrived, told) == (["a", "b"], [("bad", "Broker: Message size too large")])
    assert delivery.flush(WAIT_MS) == delivery.close() == 0


def test_what_waits_at_the_end_is_sent_after_the_next_start(settings: SpoolSettings) -> None:
    def away() -> Wire:
        raise ConfigError("no Kafka broker answers")

    ids = [f"e{n}" for n in range(20)]
    first = SpooledDelivery(settings, away)
    for each in ids[:10]:
        first.queue(an_event(each))
    assert first.flush(0) == 10
    assert (first.close(), first.close()) == (10, 10)
    wire = Wire()
    second = SpooledDelivery(settings, lambda: wire)
    for each in ids[10:]:
        second.queue(an_event(each))
    assert second.flush(WAIT_MS) == second.close() == 0
    assert wire.arrived == ids


def test_stopping_does_not_wait_for_a_broker_that_never_answers(settings: SpoolSettings) -> None:
    class Silent(Wire):
        def flush(self, timeout_ms: int) -> int:
            asked.set()
            return 1

    asked = threading.Event()
    delivery = SpooledDelivery(settings, Silent)
    delivery.queue(an_event("e"))
    assert asked.wait(WAIT_MS / 1000)
    assert delivery.close() == 1


def test_an_event_of_a_version_to_come_is_said_and_passed_over(
    settings: SpoolSettings, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(settings)
    for payload in (b"not json", b'{"kind": "thumb", "novelty": 1}', b'"text"', b'{"kind": "like"}'):
        spool.append(payload)
    spool.close()
    wire = Wire()
    with caplog.at_level(logging.ERROR, "rheostat.client"):
        delivery = SpooledDelivery(settings, lambda: wire)
        delivery.queue(an_event("e"))
        assert delivery.flush(WAIT_MS) == 0
    delivery.close()
    assert wire.arrived == ["e"]
    assert len([each for each in caplog.messages if "cannot be read" in each]) == 4


def test_what_cannot_be_written_is_refused_before_it_is_spooled(settings: SpoolSettings) -> None:
    delivery = SpooledDelivery(settings, Wire)
    with pytest.raises(ValueError, match=r"^event_id: "):
        delivery.queue(an_event("\ud800"))
    assert delivery.stats().waiting == delivery.close() == 0


def test_a_callback_that_raises_does_not_stop_the_rest(
    settings: SpoolSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(event: Feedback, error: str) -> None:
        raise RuntimeError("defect")

    wire = Wire(lambda event_id, batch: Refused("no") if event_id == "bad" else None)
    delivery = SpooledDelivery(settings, lambda: wire, raising)
    for each in ("bad", "good"):
        delivery.queue(an_event(each))
    assert delivery._spool.wait_until_empty(WAIT_MS / 1000) == 0
    delivery.close()
    assert wire.arrived == ["good"]
    assert "on_failure raised for event bad" in caplog.text


def test_the_client_spools_from_many_threads_and_each_event_arrives_once(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    broker = MemoryBroker(clock)
    broker.create_topics([TopicSpec(topic, 4) for topic in catalogue.FEEDBACK])
    for _ in range(3):
        broker.fail_next("send", Retryable("away"))
    with FeedbackClient(broker, source="shop", clock=clock, spool=tmp_path) as client:

        def click_often(thread: int) -> None:
            for number in range(100):
                client.click(f"p-{thread}-{number}", "u", consent=True)

        threads = [threading.Thread(target=click_often, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    records = [
        decode_record(block.topic, value)["prediction_id"]
        for partition in range(4)
        for block in broker.log().read(catalogue.FEEDBACK_IMPLICIT, partition)
        for value in block.values
    ]
    assert sorted(records) == sorted(f"p-{n}-{i}" for n in range(4) for i in range(100))


def test_a_spooled_event_can_be_read_by_a_person(settings: SpoolSettings) -> None:
    def away() -> Wire:
        raise ConfigError("away")

    delivery = SpooledDelivery(settings, away)
    delivery.queue(an_event("é"))
    delivery.close()
    (path,) = settings.folder.glob("*.segment")
    assert json.loads(path.read_bytes()[8:])["event_id"] == "é"


def _raise(error: Exception) -> str | None:
    raise error
