"""Tracking events become feedback; everything else is the affair of the provider inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.signals import KINDS
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.client.openfeature import FeedbackProvider
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Retryable

NOW_MS = 1_760_000_000_000


@dataclass
class Context:
    """As in OpenFeature's specification, section 3."""

    targeting_key: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Details:
    """As in section 6."""

    value: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Flags:
    """A team's provider: it resolves flags and may take tracking events too."""

    tracked: list[tuple[Any, ...]] = field(default_factory=list)
    emit: Callable[[Any, Any, Any], None] | None = None

    def attach(self, on_emit: Callable[[Any, Any, Any], None]) -> None:
        self.emit = on_emit

    def resolve_boolean_details(self, flag_key: str, default_value: bool) -> str:
        return f"{flag_key}={not default_value}"

    def track(self, *event: Any) -> None:
        self.tracked.append(event)


class World:
    """A provider around a team's own, in front of a broker."""

    def __init__(self) -> None:
        clock = ManualClock(NOW_MS)
        self.broker = MemoryBroker(clock)
        self.broker.create_topics([TopicSpec(topic, 1) for topic in catalogue.FEEDBACK])
        self.rejected: list[tuple[str, str]] = []
        self.flags = Flags()
        client = FeedbackClient(self.broker, source="shop", clock=clock)
        self.provider = FeedbackProvider(self.flags, client, lambda name, reason: self.rejected.append((name, reason)))

    def records(self) -> list[dict[str, Any]]:
        blocks = [block for topic in catalogue.FEEDBACK for block in self.broker.log().read(topic, 0)]
        return [decode_record(block.topic, value) for block in blocks for value in block.values]


@pytest.fixture
def world() -> World:
    """A world of its own."""
    return World()


def test_an_event_named_after_a_kind_is_feedback(world: World) -> None:
    context = Context("user-4", {"consent": True, "segment": "de", "plan": "gold"})
    details = Details(4, {"prediction_id": "p-1", "target_id": "item", "certainty": 0.5, "currency": "EUR"})
    world.provider.track("rating", context, details)
    (record,) = world.records()
    said = {name: record[name] for name in ("kind", "value", "subject_id", "prediction_id", "target_id", "segment")}
    assert said == {
        **{"kind": "rating", "value": 4.0, "subject_id": "user-4"},
        **{"prediction_id": "p-1", "target_id": "item", "segment": "de"},
    }
    assert (record["certainty"], record["consent"], record["source"]) == (0.5, True, "shop")
    assert world.rejected == []


def test_the_event_overrides_the_context_and_a_repetition_is_a_duplicate(world: World) -> None:
    context = Context("u", {"consent": True, "prediction_id": "of the context"})
    for _ in range(2):
        world.provider.track("click", context, Details(None, {"prediction_id": "of the event"}))
    first, second = world.records()
    assert (first["prediction_id"], first["value"]) == ("of the event", 1.0)
    assert first["event_id"] == second["event_id"]


def test_every_kind_but_a_retraction_can_be_tracked(world: World) -> None:
    for kind in KINDS:
        world.provider.track(kind, Context("u", {"consent": True, "prediction_id": "p"}), Details(1.0))
    assert sorted(each["kind"] for each in world.records()) == sorted(set(KINDS) - {"retraction"})


def test_other_events_are_no_feedback_and_all_events_go_on(world: World) -> None:
    world.provider.track("checkout opened", Context("u"), None)
    world.provider.track("click", Context("u", {"consent": True, "prediction_id": "p"}))
    assert [event[0] for event in world.flags.tracked] == ["checkout opened", "click"]
    assert len(world.records()) == 1
    assert world.rejected == []


@pytest.mark.parametrize(
    ("name", "context", "details", "reason"),
    [
        ("click", Context("u", {"prediction_id": "p"}), None, "consent: must be given"),
        ("click", Context("u", {"prediction_id": "p", "consent": "yes"}), None, "consent: must be True or False"),
        ("thumb", Context("u", {"prediction_id": "p", "consent": True}), None, "value: is missing"),
        ("rating", Context("u", {"prediction_id": "p", "consent": True}), Details(9), "value: 9.0 is not in"),
        ("click", None, None, "consent: must be given"),
        ("click", Context(None, {"consent": True}), None, "prediction_id: is empty"),
        ("click", Context("u", {"consent": True, "prediction_id": 7}), None, "prediction_id: "),
        ("click", Context("u", {"consent": True, "prediction_id": "p", "certainty": "high"}), None, "'<=' not"),
    ],
)
def test_what_cannot_be_feedback_is_told_and_never_raised(
    world: World, name: str, context: Context | None, details: Details | None, reason: str
) -> None:
    world.provider.track(name, context, details)
    ((told_name, told),) = world.rejected
    assert told_name == name
    assert told.startswith(reason)
    assert world.records() == []
    assert len(world.flags.tracked) == 1


def test_a_broker_that_takes_nothing_is_told_and_never_raised(world: World) -> None:
    world.broker.fail_next("send", Retryable("the send queue stays full"))
    world.provider.track("click", Context("u", {"consent": True, "prediction_id": "p"}))
    assert world.rejected == [("click", "the send queue stays full")]


def test_flags_are_resolved_by_the_provider_inside_and_its_events_are_those_of_the_whole(world: World) -> None:
    assert world.provider.resolve_boolean_details("beta", False) == "beta=True"
    heard: list[tuple[Any, ...]] = []
    world.provider.attach(lambda *event: heard.append(event))
    assert world.flags.emit is not None
    world.flags.emit(world.flags, "CHANGED", None)
    assert heard == [(world.provider, "CHANGED", None)]
    with pytest.raises(AttributeError, match="resolve_colour"):
        world.provider.resolve_colour("beta")
