"""Makes events of what a service gives: checks consent, fills in time and id."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NotRequired, TypedDict, Unpack

from rheostat.schemas.signals import KINDS, Channel
from rheostat.streams.client.event import Feedback, channel_of
from rheostat.streams.client.identity import EventIds

_VALUED = ("correction", "thumb", "rating", "dwell")


class Details(TypedDict):
    """What every kind of feedback may say besides its value. `consent` is never assumed.

    certainty: the user's own, 0 to 1. occurred_at_ms: when the user acted, now by default. idempotency_key: the
    service's name for the user's action; `identity.py` says when one is needed. event_id: an id of the service's own
    making, unique over all its events; it stands instead of the one that would be made.
    """

    consent: bool
    target_id: NotRequired[str | None]
    certainty: NotRequired[float | None]
    segment: NotRequired[str | None]
    text: NotRequired[str | None]
    occurred_at_ms: NotRequired[int | None]
    idempotency_key: NotRequired[str | None]
    event_id: NotRequired[str | None]


class AllDetails(Details):
    """The same for events of any kind: a retraction says what it takes back, and on which channel that came."""

    retracts: NotRequired[str | None]
    channel: NotRequired[Channel | None]


def make_event(
    ids: EventIds,
    source: str,
    now_ms: int,
    kind: str,
    value: float,
    prediction_id: str | None,
    subject_id: str,
    **details: Unpack[AllDetails],
) -> Feedback:
    """Return an event with time and id. Raises ValueError, naming the field, for one that intake would refuse."""
    if details.get("consent") is None:
        raise ValueError("consent: must be given; it is never assumed")
    given: dict[str, Any] = {name: each for name, each in details.items() if each is not None}
    key = given.pop("idempotency_key", None)
    if key is not None and "event_id" in given:
        raise ValueError("idempotency_key: is given, and so is event_id; give one of them")
    event = Feedback(
        kind=kind,
        value=float(value),
        prediction_id=prediction_id or None,
        subject_id=subject_id,
        source=source,
        occurred_at=given.pop("occurred_at_ms", now_ms),
        **given,
    )
    return event if "event_id" in given else replace(event, event_id=ids.id_of(event, key))


def value_of(kind: str, value: float | None) -> float:
    """Return the value of an event for which none may have been given: 1 for a kind that just happens, like `click`.

    Raises ValueError for a kind whose value says something, like `thumb`. Unknown kinds are for `make_event` to refuse.
    """
    if value is not None:
        return float(value)
    if kind in _VALUED:
        raise ValueError(f"value: is missing; {kind} takes {KINDS[kind].unit}")
    return 0.0 if kind == "retraction" else 1.0


def retraction_of(event: Feedback, ids: EventIds, now_ms: int) -> Feedback:
    """Return what takes an event back, under the consent it was given with, on its own topic and key: behind it."""
    taken_back = replace(
        event,
        kind="retraction",
        value=0.0,
        channel=channel_of(event),
        retracts=event.event_id,
        certainty=None,
        text=None,
        occurred_at=now_ms,
    )
    return replace(taken_back, event_id=ids.id_of(taken_back))


def channel_named_by(kind: str) -> Channel:
    """Return the channel of a kind. Raises ValueError for an unknown kind and for one without a channel of its own."""
    channel = KINDS[kind].channel if kind in KINDS else None
    if channel is None:
        known = ", ".join(name for name, each in KINDS.items() if each.channel is not None)
        raise ValueError(f"of_kind: {kind!r} is not one of {known}")
    return channel


def on_stars(rating: float, scale: tuple[float, float]) -> float:
    """Map a rating linearly from a scale of its own, (lowest, highest), to stars. Raises ValueError outside of it."""
    low, high = scale
    if not low < high or not low <= rating <= high:
        raise ValueError(f"value: rating {rating:g} is not on the scale from {low:g} to {high:g}")
    stars = KINDS["rating"]
    return stars.low + (rating - low) / (high - low) * (stars.high - stars.low)
