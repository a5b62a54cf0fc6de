"""From the JSON of a request to feedback events, and every way it can be wrong, by field name.

A body is one event, or `{"events": [...]}`. An event's fields are those of the feedback schemas; `kind`, `source` and
`consent` are required, `value` is in the unit of the kind and 1 where it is left out for a kind that just happens
(`click`), and `occurred_at` (ms) is now by default. `idempotency_key` and `event_id` are as in the feedback client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rheostat.streams.client.delivery import encoded
from rheostat.streams.client.event import Feedback, check_time
from rheostat.streams.client.identity import EventIds
from rheostat.streams.client.making import make_event, value_of

_NAME_CHARS_MAX = 64
_TEXT = "text"
_NUMBER = "a number"
_BOOLEAN = "true or false"
_INTEGER = "an integer"
_FIELDS: Mapping[str, str] = {
    "kind": _TEXT,
    "value": _NUMBER,
    "prediction_id": _TEXT,
    "subject_id": _TEXT,
    "target_id": _TEXT,
    "certainty": _NUMBER,
    "segment": _TEXT,
    "text": _TEXT,
    "retracts": _TEXT,
    "channel": _TEXT,
    "occurred_at": _INTEGER,
    "source": _TEXT,
    "consent": _BOOLEAN,
    "idempotency_key": _TEXT,
    "event_id": _TEXT,
}
_REQUIRED = ("kind", "source", "consent")


class BadRequest(Exception):
    """The request is wrong. `field` is a path such as `events[3].value`; `index` is the event's place in its batch."""

    def __init__(self, field: str, reason: str, index: int | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.index = index


class TooLarge(BadRequest):
    """The request holds more than is accepted."""


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """A parsed request: one event, or a batch of them."""

    events: tuple[Feedback, ...]
    single: bool


def parse_request(
    body: object, batch_max: int, ids: EventIds, now_ms: int, idempotency_key: str | None = None
) -> FeedbackRequest:
    """Return the events in a parsed JSON body, all of them good; raises BadRequest or TooLarge for the first fault.

    idempotency_key: of the request. It identifies those of its events that have neither key nor id of their own.
    """
    if not isinstance(body, dict):
        raise BadRequest("body", "must be a JSON object: an event, or events in a list called events")
    if "events" not in body:
        return FeedbackRequest((_event(body, ids, now_ms, idempotency_key),), single=True)
    if others := sorted(set(body) - {"events"}):
        raise BadRequest(others[0][:_NAME_CHARS_MAX], "is not known beside events")
    given = body["events"]
    if not isinstance(given, list) or not given:
        raise BadRequest("events", "must be a list of at least one event")
    if len(given) > batch_max:
        raise TooLarge("events", f"{len(given)} events, at most {batch_max} are accepted")
    return FeedbackRequest(tuple(_batch(given, ids, now_ms, idempotency_key)), single=False)


def _batch(given: Sequence[object], ids: EventIds, now_ms: int, idempotency_key: str | None) -> list[Feedback]:
    events = []
    for index, each in enumerate(given):
        key = None if idempotency_key is None else f"{idempotency_key}/{index}"
        try:
            if not isinstance(each, dict):
                raise BadRequest("", "must be a JSON object")
            events.append(_event(each, ids, now_ms, key))
        except BadRequest as error:
            path = f"events[{index}].{error.field}".rstrip(".")
            raise BadRequest(path, error.reason, index) from error
    return events


def _event(given: Mapping[str, Any], ids: EventIds, now_ms: int, idempotency_key: str | None) -> Feedback:
    fields = _checked(given)
    if "event_id" not in fields:
        fields.setdefault("idempotency_key", idempotency_key)
    try:
        event = make_event(
            ids,
            source=fields.pop("source"),
            now_ms=now_ms,
            value=value_of(fields["kind"], fields.pop("value", None)),
            kind=fields.pop("kind"),
            prediction_id=fields.pop("prediction_id", None),
            subject_id=fields.pop("subject_id", ""),
            occurred_at_ms=fields.pop("occurred_at", None),
            **fields,
        )
        check_time(event, now_ms)
        encoded(event)
    except ValueError as error:
        field, _, reason = str(error).partition(": ")
        raise BadRequest(field, reason) from error
    return event


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not null, each of its type. Raises BadRequest."""
    for name, value in given.items():
        if name not in _FIELDS:
            raise BadRequest(name[:_NAME_CHARS_MAX], f"is not known; an event has {', '.join(_FIELDS)}")
        if value is not None and not _fits(_FIELDS[name], value):
            raise BadRequest(name, f"must be {_FIELDS[name]}, got {str(value)[:40]!r}")
    for name in _REQUIRED:
        if given.get(name) is None:
            raise BadRequest(name, "is missing")
    return {name: value for name, value in given.items() if value is not None}


def _fits(wanted: str, value: object) -> bool:
    if wanted == _TEXT:
        return isinstance(value, str)
    if wanted == _BOOLEAN:
        return isinstance(value, bool)
    # Python's bool is an int; and an int may be too large for a double or a 64-bit field.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else wanted == _NUMBER
