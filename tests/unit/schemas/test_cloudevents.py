"""CloudEvents headers: written and read back, and strict about what is required."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.cloudevents import CloudEvent, format_time, parse_time, read_headers, write_headers

NAMES = st.text(min_size=1, max_size=20)
TIMES = st.integers(-62_135_596_800_000, 253_402_300_799_999)  # years 1 to 9999
EVENTS = st.builds(CloudEvent, NAMES, NAMES, NAMES, st.none() | TIMES, st.none() | st.text(max_size=20))


@given(event=EVENTS)
def test_what_is_written_is_read(event: CloudEvent) -> None:
    assert read_headers(write_headers(event)) == event


def test_the_headers_are_those_of_the_binary_mode() -> None:
    event = CloudEvent("e-1", "web", "feedback.explicit", 1_760_000_000_123, "user-1")
    assert dict(write_headers(event)) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"web",
        "ce_type": b"feedback.explicit",
        "ce_time": b"2025-10-09T08:53:20.123Z",
        "ce_subject": b"user-1",
        "content-type": b"application/avro",
    }


def test_records_without_the_headers_are_no_events() -> None:
    assert read_headers(None) is None
    assert read_headers([("traceparent", b"00-1")]) is None


def test_foreign_headers_and_extensions_are_passed_over() -> None:
    event = CloudEvent("e-1", "web", "t")
    assert read_headers([*write_headers(event), ("ce_tenant", b"x"), ("traceparent", b"\xff")]) == event


@given(time_ms=TIMES)
def test_times_survive_as_text(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01T01:00:00.0019999+01:00", 1),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times_in_other_forms(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ce_specversion", b"0.3", "not supported"),
        ("ce_id", b"", "is missing"),
        ("ce_source", b"\xff", "not UTF-8"),
        ("ce_time", b"yesterday", "not an RFC 3339 time"),
        ("ce_time", b"2025-10-09T08:53:20", "names no time zone"),
    ],
)
def test_a_wrong_header_is_named(name: str, value: bytes, words: str) -> None:
    headers = dict(write_headers(CloudEvent("e-1", "web", "t", 0)))
    with pytest.raises(ValueError, match=f"{name}: .*{words}"):
        read_headers(list({**headers, name: value}.items()))


def test_a_missing_header_is_named() -> None:
    headers = [header for header in write_headers(CloudEvent("e", "s", "t")) if header[0] != "ce_type"]
    with pytest.raises(ValueError, match="ce_type: is missing"):
        read_headers(headers)


@pytest.mark.parametrize("event", [CloudEvent("", "s", "t"), CloudEvent("e", "", "t"), CloudEvent("e", "s", "")])
def test_an_empty_attribute_is_not_written(event: CloudEvent) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        write_headers(event)


@pytest.mark.parametrize("time_ms", [2**63 - 1, 253_402_300_800_000, -62_135_596_800_001])
def test_a_time_outside_the_calendar_is_refused(time_ms: int) -> None:
    with pytest.raises(ValueError, match="ce_time: "):
        format_time(time_ms)
