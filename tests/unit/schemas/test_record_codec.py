"""Single records: what is written is read, as fastavro writes it, and what is wrong is named."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.codec import BadRecord, decode_body, decode_record, encode_body, encode_record
from rheostat.schemas.documents import document, field_names, names
from rheostat.schemas.ids import COMMITTED
from tests.unit.schemas.strategies import FEW, Record, damaged, records

EXPLICIT = "feedback.explicit"
EVENT: Record = {
    "event_id": "e-1",
    "prediction_id": "p-1",
    "subject_id": "user-1",
    "target_id": None,
    "kind": "rating",
    "value": 4.0,
    "certainty": None,
    "segment": "de",
    "text": None,
    "retracts": None,
    "occurred_at": 1_760_000_000_000,
    "source": "web",
    "consent": True,
}


def fastavro_body(schema: str, record: Record) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(document(schema))), record)
    return out.getvalue()


@pytest.mark.parametrize("schema", names())
@FEW
@given(data=st.data())
def test_what_is_written_is_read_and_the_bytes_are_fastavros(schema: str, data: st.DataObject) -> None:
    record = data.draw(records(schema))
    body = encode_body(schema, record)
    assert body == fastavro_body(schema, record)
    assert repr(decode_body(schema, body)) == repr(record)  # repr: NaN equals NaN, -0.0 is not 0.0
    value = encode_record(schema, record)
    assert value == b"\0" + COMMITTED.id_of(schema).to_bytes(4, "big") + body
    assert repr(decode_record(schema, value)) == repr(record)


@pytest.mark.parametrize("schema", ["manifest", "models", "feedback.explicit", "evaluations"])
@FEW
@given(data=st.data())
def test_damaged_bytes_are_refused_or_canonical(schema: str, data: st.DataObject) -> None:
    value = data.draw(damaged(encode_record(schema, data.draw(records(schema)))))
    bad: BadRecord | None = None
    try:
        assert encode_record(schema, decode_record(schema, value)) == value
    except BadRecord as error:
        bad = error
    assert bad is None or (bad.reason and bad.field in {"payload", *field_names(schema)})


def test_fields_with_a_default_may_be_left_out() -> None:
    short = {name: value for name, value in EVENT.items() if value is not None}
    assert decode_record(EXPLICIT, encode_record(EXPLICIT, short)) == EVENT


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"value": "4"}, "value", "not a number"),
        ({"value": True}, "value", "not a number"),
        ({"value": None}, "value", "must not be null"),
        ({"event_id": 5}, "event_id", "must be string"),
        ({"event_id": b"e"}, "event_id", "must be string"),
        ({"event_id": "\ud800"}, "event_id", "surrogates not allowed"),
        ({"prediction_id": 5}, "prediction_id", "do not match"),
        ({"occurred_at": 1.5}, "occurred_at", "not an integer"),
        ({"occurred_at": True}, "occurred_at", "not an integer"),
        ({"occurred_at": 2**63}, "occurred_at", "too large"),
        ({"consent": 1}, "consent", "not a boolean"),
        ({"colour": "red"}, "colour", "not a field of feedback.explicit"),
    ],
)
def test_a_wrong_field_is_named_when_writing(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRecord, match=words) as caught:
        encode_record(EXPLICIT, {**EVENT, **change})
    assert caught.value.field == field


def test_a_missing_field_is_named_when_writing() -> None:
    with pytest.raises(BadRecord, match="subject_id: is missing"):
        encode_record(EXPLICIT, {name: value for name, value in EVENT.items() if name != "subject_id"})


def test_an_unknown_enum_symbol_is_refused() -> None:
    status = {"alert_id": "a", "rule": "r", "state": "ajar", "severity": "page", "summary": "s"}
    with pytest.raises(BadRecord) as caught:
        encode_record("alerts", {**status, "value": 1.0, "threshold": 1.0, "at": 0})
    assert caught.value.field == "state"


GOOD = encode_record(EXPLICIT, EVENT)
# The body begins behind the header with the length of "e-1", 3, as the varint 0x06.
WRONG_VALUES: list[tuple[bytes | None, str, str]] = [
    (None, "payload", "no value"),
    (b"", "payload", "0 bytes, a record has at least 5"),
    (b"\0\0\0", "payload", "3 bytes, a record has at least 5"),
    (b"\1" + GOOD[1:], "payload", "first byte is 0x01"),
    (b"\0\0\0\0\x4d" + GOOD[5:], "payload", "schema id 77 is not known; feedback.explicit has 2"),
    (b"\0\0\0\0\x03" + GOOD[5:], "payload", "schema id 3 is that of feedback.implicit"),
    (GOOD[:-1], "consent", "ends inside this field"),
    (GOOD[:5], "event_id", "ends inside this field"),
    (GOOD + b"x", "payload", "1 bytes too many"),
    (GOOD.replace(b"rating", b"rat\xffng"), "kind", "not UTF-8"),
    (GOOD[:-1] + b"\2", "consent", "not canonical"),
    (GOOD[:5] + b"\x86\0" + GOOD[6:], "event_id", "not canonical"),  # an overlong 3
    (GOOD[:5] + b"\5" + GOOD[6:], "event_id", "byte 0"),  # a length of -3
]


@pytest.mark.parametrize(("value", "field", "words"), WRONG_VALUES)
def test_wrong_bytes_are_refused_by_name(value: bytes | None, field: str, words: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_record(EXPLICIT, value)
    assert caught.value.field == field
    assert words in caught.value.reason


def test_the_place_of_a_bad_record_is_part_of_its_text() -> None:
    bad = BadRecord("value", "is NaN", topic=EXPLICIT, partition=3, offset=41)
    assert str(bad) == "feedback.explicit[3]@41: value: is NaN"


def test_another_id_table_changes_the_id_alone() -> None:
    ids = COMMITTED.replaced({EXPLICIT: 100_001})
    value = encode_record(EXPLICIT, EVENT, ids=ids)
    assert value == b"\0" + (100_001).to_bytes(4, "big") + GOOD[5:]
    assert decode_record(EXPLICIT, value, ids=ids) == EVENT
    with pytest.raises(BadRecord, match="schema id 2 is not known"):
        decode_record(EXPLICIT, GOOD, ids=ids)


def test_integers_beyond_32_bits_are_refused_at_any_depth() -> None:
    command = {"command_id": "c", "model": "m", "kind": "rollback", "epoch": 2, "reason": "r", "issuer": "i"}
    times = {"issued_at": 0, "expires_at": 1}
    wide = {"partition": 2**31, "start": 0, "end": 1}
    with pytest.raises(BadRecord, match="exclude: 2147483648 is out of range for a 32-bit integer"):
        encode_body("command", {**command, **times, "exclude": [wide]})
    body = encode_body("command", {**command, **times, "exclude": [{**wide, "partition": 2**31 - 1}]})
    largest, beyond = b"\xfe\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10"
    with pytest.raises(BadRecord, match="exclude: 2147483648 is out of range"):
        decode_body("command", body.replace(largest, beyond))
