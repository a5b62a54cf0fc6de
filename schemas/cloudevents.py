"""CloudEvents 1.0 attributes as Kafka record headers: the protocol binding's binary mode.

The value stays what it is; the headers say what happened: `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, and
where known `ce_time` (RFC 3339, UTC, milliseconds) and `ce_subject`. `content-type` names the value's encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Headers = list[tuple[str, bytes]]

SPECVERSION = "1.0"
CONTENT_TYPE = "application/avro"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REQUIRED = ("ce_id", "ce_source", "ce_type")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What the headers say. `id` with `source` is unique, so a retry carries the same; `type` is the schema's name."""

    id: str
    source: str
    type: str
    time_ms: int | None = None
    subject: str | None = None


def write_headers(event: CloudEvent) -> Headers:
    """Return the record headers of an event, UTF-8, in a fixed order. Raises ValueError for an empty attribute."""
    attributes = {"ce_id": event.id, "ce_source": event.source, "ce_type": event.type}
    for name, value in attributes.items():
        if not value:
            raise ValueError(f"{name}: must not be empty")
    attributes["ce_specversion"] = SPECVERSION
    if event.time_ms is not None:
        attributes["ce_time"] = format_time(event.time_ms)
    if event.subject is not None:
        attributes["ce_subject"] = event.subject
    attributes["content-type"] = CONTENT_TYPE
    return [(name, value.encode()) for name, value in attributes.items()]


def read_headers(headers: Sequence[tuple[str, bytes]] | None) -> CloudEvent | None:
    """Return the event that the headers describe, None where they describe none.

    Extension attributes and foreign headers are passed over. Raises ValueError naming the header that is wrong.
    """
    found = dict(headers or ())
    if "ce_specversion" not in found:
        return None
    version = _text(found, "ce_specversion")
    if not version.startswith("1."):
        raise ValueError(f"ce_specversion: {version!r} is not supported; expected {SPECVERSION}")
    event_id, source, kind = (_required(found, name) for name in _REQUIRED)
    time_ms = parse_time(_text(found, "ce_time")) if "ce_time" in found else None
    subject = _text(found, "ce_subject") if "ce_subject" in found else None
    return CloudEvent(event_id, source, kind, time_ms, subject)


def format_time(time_ms: int) -> str:
    """Return milliseconds since the epoch as RFC 3339 in UTC; raises ValueError outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        raise ValueError(f"ce_time: {time_ms} ms is not a date between the years 1 and 9999") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Return RFC 3339 text as milliseconds since the epoch, finer fractions cut off; raises ValueError."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"ce_time: {text!r} is not an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise ValueError(f"ce_time: {text!r} names no time zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _required(found: dict[str, bytes], name: str) -> str:
    value = _text(found, name) if name in found else ""
    if not value:
        raise ValueError(f"{name}: is missing; a CloudEvent carries {', '.join(_REQUIRED)}")
    return value


def _text(found: dict[str, bytes], name: str) -> str:
    try:
        return found[name].decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: is not UTF-8") from None
