"""The feedback client: what it sends is what intake accepts, what it refuses intake would refuse."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.cloudevents import read_headers
from rheostat.schemas.codec import decode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.schemas.signals import KINDS
from rheostat.streams.client import event as event_module
from rheostat.streams.client.delivery import Delivery, Undelivered
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Block, Headers
from rheostat.streams.engine.broker import DeliveryCallback, TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.intake.arrivals import CHANNELS, arrive
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.validate import EVENT_ID_CHARS_MAX, faults

PARTITIONS = 4
NOW_MS = 1_760_000_000_000
SETTINGS = IntakeSettings(pseudonym_key=b"0123456789abcdef")


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker with the three feedback topics."""
    made = MemoryBroker(ManualClock(NOW_MS))
    made.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
    return made


@pytest.fixture
def client(broker: MemoryBroker) -> FeedbackClient:
    """A client of that broker, with a clock that stands."""
    return FeedbackClient(broker, source="shop", clock=ManualClock(NOW_MS))


def blocks_of(broker: MemoryBroker) -> list[Block]:
    """Everything that was sent."""
    log = broker.log()
    return [b for topic in catalogue.FEEDBACK for p in range(PARTITIONS) for b in log.read(topic, p)]


def records_of(broker: MemoryBroker) -> list[dict[str, Any]]:
    """Everything that was sent, decoded."""
    return [decode_record(block.topic, value) for block in blocks_of(broker) for value in block.values]


def an_event(**changes: Any) -> Feedback:
    """A valid event."""
    fields = {
        "kind": "thumb",
        "value": 1.0,
        "prediction_id": "p-1",
        "subject_id": "u-1",
        "consent": True,
        "source": "shop",
        "occurred_at": NOW_MS,
    }
    return Feedback(**{**fields, **changes})


def accepted_by_intake(broker: MemoryBroker) -> bool:
    """Whether intake finds no fault with anything that was sent."""
    arrivals, undecoded = arrive(blocks_of(broker), SETTINGS.record_bytes_max)
    return not any(undecoded) and not faults(arrivals, SETTINGS, NOW_MS)


def test_every_kind_has_a_method_and_intake_accepts_it(broker: MemoryBroker, client: FeedbackClient) -> None:
    extra: dict[str, dict[str, Any]] = {
        "correction": {"label": 0.0},
        "thumb": {"up": False},
        "rating": {"stars": 4},
        "dwell": {"dwell_ms": 12_500},
    }
    kinds = [name for name in KINDS if name != "retraction"]
    for kind in kinds:
        getattr(client, kind)("p-1", "u-1", consent=True, **extra.get(kind, {}))
    client.retract(an_event())
    client.flush()
    sent = records_of(broker)
    assert sorted(each["kind"] for each in sent) == sorted(KINDS)
    assert {each["kind"]: each["value"] for each in sent if each["kind"] in extra} == {
        "correction": 0.0,
        "thumb": 0.0,
        "rating": 4.0,
        "dwell": 12.5,
    }
    assert accepted_by_intake(broker)


def test_an_event_arrives_as_it_was_given(broker: MemoryBroker, client: FeedbackClient) -> None:
    made = client.rating(
        "p-1",
        "u-1",
        stars=2,
        consent=False,
        certainty=0.25,
        target_id="site-7",
        segment="de",
        text="too slow",
        occurred_at_ms=NOW_MS - 5,
        event_id="click-42",
    )
    client.flush()
    (block,) = blocks_of(broker)
    assert decode_record(block.topic, block.values[0]) == made.record()
    assert (made.event_id, made.consent, made.occurred_at) == ("click-42", False, NOW_MS - 5)
    assert list(block.timestamps_ms) == [NOW_MS - 5]
    assert block.headers is not None
    found = read_headers(block.headers[0])
    assert found is not None
    assert (found.id, found.source, found.type, found.time_ms) == (
        "click-42",
        "shop",
        catalogue.FEEDBACK_EXPLICIT,
        NOW_MS - 5,
    )


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=30))
def test_events_lie_where_the_murmur2_of_their_key_says(ids: list[str]) -> None:
    broker = MemoryBroker(ManualClock(NOW_MS))
    broker.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
    with FeedbackClient(broker, source="shop", clock=ManualClock(NOW_MS)) as client:
        for each in ids:
            client.click(each, "u", consent=True)
            client.click(None, each, consent=True)
    for block in blocks_of(broker):
        for key, value in zip(block.keys, block.values, strict=True):
            record = decode_record(block.topic, value)
            assert key is not None
            assert key == (record["prediction_id"] or record["subject_id"]).encode()
            assert block.partition == partition_for(key, PARTITIONS)


def test_sending_an_event_again_repeats_its_id(broker: MemoryBroker, client: FeedbackClient) -> None:
    first = client.click(None, "u", consent=True)
    client.send(first)
    client.flush()
    assert [each["event_id"] for each in records_of(broker)] == [first.event_id, first.event_id]


@pytest.mark.parametrize(
    ("rating", "scale", "stars"),
    [(1, (1, 5), 1.0), (4.5, (1, 5), 4.5), (0, (0, 10), 1.0), (10, (0, 10), 5.0), (5, (0, 10), 3.0), (0, (-1, 1), 3.0)],
)
def test_a_rating_on_another_scale_is_mapped_to_stars(
    client: FeedbackClient, rating: float, scale: tuple[float, float], stars: float
) -> None:
    assert client.rating("p", "u", stars=rating, scale=scale, consent=True).value == stars


@pytest.mark.parametrize(("rating", "scale"), [(6, (1, 5)), (0.9, (1, 5)), (1, (5, 1)), (float("nan"), (1, 5))])
def test_a_rating_off_its_scale_is_refused(client: FeedbackClient, rating: float, scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^value: rating .* is not on the scale"):
        client.rating("p", "u", stars=rating, scale=scale, consent=True)


def test_an_event_is_taken_back_by_its_id_alone(broker: MemoryBroker, client: FeedbackClient) -> None:
    event = client.copy("p-9", "u", consent=True)
    by_event = client.retract(event)
    by_id = client.retraction("p-9", "u", retracts=event.event_id, of_kind="copy", consent=True)
    client.flush()
    assert by_id == by_event
    assert accepted_by_intake(broker)
    with pytest.raises(ValueError, match=r"^of_kind: 'retraction' is not one of correct, "):
        client.retraction("p-9", "u", retracts=event.event_id, of_kind="retraction", consent=True)


def test_a_retraction_follows_what_it_takes_back(broker: MemoryBroker, client: FeedbackClient) -> None:
    for kind in ("thumb", "click", "conversion"):
        given_event = client.give(kind, 1.0, "p-9", "u", consent=True)
        taken = client.retract(given_event)
        again = client.retract(given_event)
        assert (taken.topic, taken.key, taken.retracts) == (given_event.topic, given_event.key, given_event.event_id)
        assert taken.event_id == again.event_id != given_event.event_id
    client.flush()
    assert accepted_by_intake(broker)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("kind", {"kind": "like"}),
        ("value", {"value": 1.5}),
        ("value", {"value": float("nan")}),
        ("value", {"kind": "rating", "value": 0.0}),
        ("value", {"kind": "dwell", "value": float("inf")}),
        ("event_id", {"event_id": ""}),
        ("event_id", {"event_id": "x" * 129}),
        ("prediction_id", {"prediction_id": None, "subject_id": ""}),
        ("source", {"source": ""}),
        ("consent", {"consent": "yes"}),
        ("consent", {"consent": None}),
        ("certainty", {"certainty": 1.01}),
        ("certainty", {"certainty": float("nan")}),
        ("text", {"text": "x" * 8193}),
        ("retracts", {"kind": "retraction", "channel": "explicit", "value": 0.0}),
        ("channel", {"kind": "retraction", "value": 0.0, "retracts": "e"}),
        ("channel", {"kind": "thumb", "channel": "implicit"}),
        ("channel", {"kind": "thumb", "channel": "sideways"}),
    ],
)
def test_a_wrong_field_is_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        an_event(**changes)


@pytest.mark.parametrize("offset_ms", [-30 * 86_400_000 - 1, 300_001])
def test_a_wrong_time_is_named(client: FeedbackClient, offset_ms: int) -> None:
    with pytest.raises(ValueError, match=r"^occurred_at: "):
        client.click("p", "u", consent=True, occurred_at_ms=NOW_MS + offset_ms)


@pytest.mark.parametrize("offset_ms", [-30 * 86_400_000, 300_000])
def test_a_time_on_the_bound_is_accepted(broker: MemoryBroker, client: FeedbackClient, offset_ms: int) -> None:
    client.click("p", "u", consent=True, occurred_at_ms=NOW_MS + offset_ms)
    client.flush()
    assert accepted_by_intake(broker)


def test_an_event_that_is_too_large_is_refused(client: FeedbackClient) -> None:
    with pytest.raises(ValueError, match=r"^payload: "):
        client.click("p", "u", consent=True, target_id="x" * 70_000)


@pytest.mark.parametrize("field", ["text", "prediction_id", "event_id"])
def test_text_that_is_not_unicode_is_refused(client: FeedbackClient, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        client.send(an_event(**{field: "\ud800"}))


def test_consent_is_never_assumed(client: FeedbackClient) -> None:
    with pytest.raises(ValueError, match=r"^consent: "):
        client.click("p", "u")  # type: ignore[call-arg]


def test_the_bounds_are_those_of_intake() -> None:
    assert event_module.ID_CHARS_MAX == EVENT_ID_CHARS_MAX
    assert SETTINGS.text_chars_max == event_module.TEXT_CHARS_MAX
    assert SETTINGS.record_bytes_max == event_module.RECORD_BYTES_MAX
    assert SETTINGS.max_past_ms == event_module.PAST_MS_MAX
    assert SETTINGS.max_future_ms == event_module.FUTURE_MS_MAX
    assert {topic: channel for channel, topic in event_module.TOPIC_OF.items()} == CHANNELS


@given(
    kind=st.sampled_from(sorted(KINDS)),
    value=st.floats(-10, 100_000) | st.sampled_from([0.0, 1.0, 5.0, 86_400.0, np.nan, np.inf]),
    channel=st.sampled_from(["explicit", "implicit", "outcome"]) | st.none(),
    certainty=st.none() | st.floats(-0.5, 1.5),
    text=st.none() | st.text(max_size=20) | st.sampled_from(["é" * 8_192, "é" * 8_193]),
    event_id=st.text(max_size=5) | st.sampled_from(["é" * 128, "é" * 129]),
    prediction_id=st.none() | st.text(max_size=3),
    subject_id=st.text(max_size=3),
    retracts=st.none() | st.text(max_size=3),
    age_ms=st.sampled_from([0, -300_000, -300_001, 30 * 86_400_000, 30 * 86_400_000 + 1]),
)
def test_what_the_client_accepts_intake_accepts(age_ms: int, **fields: Any) -> None:
    clock = ManualClock(NOW_MS)
    broker = MemoryBroker(clock)
    broker.create_topics([TopicSpec(topic, PARTITIONS) for topic in catalogue.FEEDBACK])
    client = FeedbackClient(broker, source="shop", clock=clock)
    try:
        client.send(an_event(occurred_at=NOW_MS - age_ms, **fields))
    except ValueError:
        return
    client.flush()
    assert len(records_of(broker)) == 1
    assert accepted_by_intake(broker)


class StuckProducer:
    """A producer whose broker refuses some records and never answers for others."""

    def __init__(self, refuse: set[bytes], ignore: set[bytes]) -> None:
        self._refuse, self._ignore = refuse, ignore
        self._reports: list[tuple[DeliveryCallback | None, str | None]] = []
        self._waiting = 0

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
        if key in self._ignore:
            self._waiting += 1
        else:
            self._reports.append((on_delivery, "not enough replicas" if key in self._refuse else None))

    def flush(self, timeout_ms: int) -> int:
        for report, error in self._reports:
            assert report is not None
            report(error)
        self._reports.clear()
        return self._waiting

    def close(self) -> None:
        pass


def test_what_was_not_delivered_is_raised_and_handed_back() -> None:
    told: list[tuple[Feedback, str]] = []
    delivery = Delivery(StuckProducer({b"bad"}, {b"slow"}), lambda event, error: told.append((event, error)))
    bad = an_event(prediction_id="bad")
    for event in (an_event(prediction_id="good"), bad, an_event(prediction_id="slow")):
        delivery.queue(event)
    with pytest.raises(Undelivered, match="1 events were not delivered, 1 are still waiting") as raised:
        delivery.flush(10)
    assert raised.value.failed == ((bad, "not enough replicas"),) == tuple(told)
    assert (raised.value.failed_count, raised.value.waiting) == (1, 1)
    with pytest.raises(Undelivered, match="0 events were not delivered, 1 are"):
        delivery.flush(10)


def test_the_failures_kept_are_bounded_but_all_are_counted() -> None:
    delivery = Delivery(StuckProducer({b"bad"}, set()))
    for _ in range(1_500):
        delivery.queue(an_event(prediction_id="bad"))
    with pytest.raises(Undelivered) as raised:
        delivery.flush(10)
    assert (raised.value.failed_count, len(raised.value.failed)) == (1_500, 1_000)


def test_the_client_loads_only_the_base_install() -> None:
    code = (
        "import sys; import rheostat.streams.client.feedback, rheostat.streams.engine.kafka\n"
        "print([name for name in ('faust', 'mode', 'river', 'pandas', 'torch', 'starlette') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
