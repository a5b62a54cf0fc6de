"""One feedback event as a service makes it, checked by the rules that intake will check it with."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rheostat.schemas import catalogue
from rheostat.schemas.signals import KINDS, Channel

ID_CHARS_MAX = 128
TEXT_CHARS_MAX = 8_192
RECORD_BYTES_MAX = 65_536
PAST_MS_MAX = 30 * 86_400_000
FUTURE_MS_MAX = 300_000

TOPIC_OF: Mapping[Channel, str] = {
    "explicit": catalogue.FEEDBACK_EXPLICIT,
    "implicit": catalogue.FEEDBACK_IMPLICIT,
    "outcome": catalogue.FEEDBACK_OUTCOME,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One event, named as in the feedback schemas. Raises ValueError naming the field that intake would refuse.

    It keeps its id: sending the same object again is a retry, which intake drops as a duplicate.
    """

    kind: str
    value: float
    subject_id: str
    consent: bool
    source: str
    occurred_at: int
    channel: Channel | None = None
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    prediction_id: str | None = None
    target_id: str | None = None
    certainty: float | None = None
    segment: str | None = None
    text: str | None = None
    retracts: str | None = None

    def __post_init__(self) -> None:
        _check_kind(self)
        _check_ids(self)
        _check_values(self)

    @property
    def topic(self) -> str:
        """The feedback topic of its kind; a retraction goes to the topic of `channel`."""
        return TOPIC_OF[channel_of(self)]

    @property
    def key(self) -> bytes:
        """The record's key: the prediction, else the subject; it decides which events meet in one partition."""
        return (self.prediction_id or self.subject_id).encode()

    def record(self) -> dict[str, Any]:
        """Return the fields of the Avro record."""
        return {name: getattr(self, name) for name in _RECORD_FIELDS}


_RECORD_FIELDS = tuple(each.name for each in fields(Feedback) if each.name != "channel")


def channel_of(event: Feedback) -> Channel:
    """Return the channel of its kind; a kind that may come on every topic carries its own. Raises ValueError."""
    channel = KINDS[event.kind].channel or event.channel
    if channel is None or channel not in TOPIC_OF or event.channel not in (None, channel):
        known = ", ".join(TOPIC_OF)
        raise ValueError(f"channel: {event.channel!r} does not fit kind {event.kind}; channels are {known}")
    return channel


def check_time(event: Feedback, now_ms: int) -> None:
    """Raise ValueError when the user acted too long ago, or in the future."""
    if event.occurred_at < now_ms - PAST_MS_MAX:
        raise ValueError(f"occurred_at: {event.occurred_at} ms is more than {PAST_MS_MAX // 86_400_000} days ago")
    if event.occurred_at > now_ms + FUTURE_MS_MAX:
        raise ValueError(f"occurred_at: {event.occurred_at} ms is more than {FUTURE_MS_MAX // 1000} s ahead of now")


def _check_kind(event: Feedback) -> None:
    if event.kind not in KINDS:
        raise ValueError(f"kind: {event.kind!r} is not one of {', '.join(KINDS)}")
    kind = KINDS[event.kind]
    channel_of(event)
    if not math.isfinite(event.value) or not kind.low <= event.value <= kind.high:
        raise ValueError(f"value: {event.value} is not in [{kind.low:g}, {kind.high:g}] ({kind.unit}) for {event.kind}")
    if event.kind == "retraction" and not event.retracts:
        raise ValueError("retracts: must name the event_id that is taken back")


def _check_ids(event: Feedback) -> None:
    if not 1 <= len(event.event_id) <= ID_CHARS_MAX:
        raise ValueError(f"event_id: has {len(event.event_id)} characters, must have 1 to {ID_CHARS_MAX}")
    if not event.prediction_id and not event.subject_id:
        raise ValueError("prediction_id: is empty, and so is subject_id; one of them is needed")
    if not event.source:
        raise ValueError("source: must name the service")


def _check_values(event: Feedback) -> None:
    if not isinstance(event.consent, bool):
        raise ValueError(f"consent: must be True or False, not {event.consent!r}")
    if event.certainty is not None and not 0.0 <= event.certainty <= 1.0:
        raise ValueError(f"certainty: {event.certainty} is not in [0, 1]")
    if event.text is not None and len(event.text) > TEXT_CHARS_MAX:
        raise ValueError(f"text: has {len(event.text)} characters, at most {TEXT_CHARS_MAX} are allowed")
