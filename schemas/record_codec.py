"""One record to bytes and back: Avro in the Confluent wire format, by fastavro.

Timestamps are integers, milliseconds since the Unix epoch. Only canonical bytes are read: those that writing the
record again would give. That refuses trailing bytes, overlong numbers, numbers too large for their type and
out-of-range enum or boolean bytes with one rule, and it makes signed bodies unambiguous.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, cast

import fastavro
import numpy as np

from rheostat.schemas.documents import document, plain
from rheostat.schemas.ids import COMMITTED, IdTable
from rheostat.schemas.int_ranges import oversized

HEADER_BYTES = 5
_MAGIC = b"\x00"
_INTEGER = (int, np.integer)
_REAL = (int, float, np.integer, np.floating)
_INTEGERS = ("int", "long")


class BadRecord(Exception):
    """One record is wrong.

    `field` is `payload` when the record as a whole is wrong; `reason` says what is wrong and what is allowed.
    """

    def __init__(
        self,
        field: str,
        reason: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        place = "" if topic is None else f"{topic}[{partition}]@{offset}: "
        super().__init__(f"{place}{field}: {reason}")
        self.field = field
        self.reason = reason
        self.topic = topic
        self.partition = partition
        self.offset = offset


class _Field(NamedTuple):
    name: str
    kind: str
    parsed: Any
    optional: bool


def encode_record(schema: str, record: Mapping[str, Any], *, ids: IdTable = COMMITTED) -> bytes:
    """Return the wire bytes of a record: magic byte, schema id, Avro body. Raises BadRecord naming the field."""
    return header(schema, ids) + encode_body(schema, record)


def decode_record(schema: str, value: bytes | None, *, ids: IdTable = COMMITTED) -> dict[str, Any]:
    """Return the record in a message value written with this schema; raises BadRecord."""
    wrong = header_fault(schema, value, ids)
    if wrong is not None or value is None:
        raise BadRecord("payload", wrong or "no value")
    return decode_body(schema, value[HEADER_BYTES:])


def encode_body(schema: str, record: Mapping[str, Any]) -> bytes:
    """Return the Avro body alone, without magic byte and id; raises BadRecord naming the field."""
    _check_scalars(schema, record)
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, _parsed(schema), record, strict_allow_default=True)
    except Exception as error:
        raise _encode_fault(schema, record, error) from error
    _check_ints(schema, record)
    return out.getvalue()


def decode_body(schema: str, body: bytes) -> dict[str, Any]:
    """Return the record in an Avro body without magic byte and id; raises BadRecord naming the field."""
    source = io.BytesIO(body)
    try:
        record = cast(dict[str, Any], fastavro.schemaless_reader(source, _parsed(schema), None))
    except Exception as error:
        raise _decode_fault(schema, body) from error
    if source.tell() != len(body):
        extra = len(body) - source.tell()
        raise BadRecord("payload", f"{extra} bytes too many behind the last field")
    _check_canonical(schema, record, body)
    _check_ints(schema, record)
    return record


def header(schema: str, ids: IdTable) -> bytes:
    """Return the five bytes before the body: 0x00 and the schema id, big-endian."""
    return _MAGIC + ids.id_of(schema).to_bytes(4, "big")


def header_fault(schema: str, value: bytes | None, ids: IdTable) -> str | None:
    """Return what is wrong with a value before its body, in words; None if nothing is."""
    if not isinstance(value, bytes):
        return "no value: a record without payload cannot be feedback or state" if value is None else "not bytes"
    if len(value) < HEADER_BYTES:
        return f"{len(value)} bytes, a record has at least {HEADER_BYTES}"
    if value[:1] != _MAGIC:
        return f"first byte is 0x{value[0]:02x}, expected 0x00 (Confluent wire format: 0x00, 4-byte schema id, body)"
    return _id_fault(schema, int.from_bytes(value[1:HEADER_BYTES], "big"), ids)


def _id_fault(schema: str, found: int, ids: IdTable) -> str | None:
    expected = ids.id_of(schema)
    if found == expected:
        return None
    other = ids.name_of(found)
    if other is not None:
        return f"schema id {found} is that of {other}; {schema} has {expected}"
    known = ", ".join(f"{number} ({name})" for name, number in ids.ids.items())
    return f"schema id {found} is not known; {schema} has {expected}; known ids are {known}"


@cache
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(plain(document(schema)))


@cache
def _fields(schema: str) -> tuple[_Field, ...]:
    # Named types are shared between the fields' schemas, so that a later field may refer to an earlier one's.
    named: dict[str, Any] = {}
    return tuple(_field(field, named) for field in plain(document(schema))["fields"])


def _field(field: Mapping[str, Any], named: dict[str, Any]) -> _Field:
    avro = field["type"]
    optional = isinstance(avro, list) and len(avro) == 2 and avro[0] == "null"
    inner = avro[1] if optional else avro
    kind = inner if isinstance(inner, str) else "other"
    return _Field(field["name"], kind, fastavro.parse_schema(avro, named), optional or "default" in field)


def _check_scalars(schema: str, record: Mapping[str, Any]) -> None:
    """Refuse what fastavro would quietly change: text or fractions for numbers, numbers for booleans."""
    for name, kind, _, optional in _fields(schema):
        value = record.get(name)
        if value is None:
            if not optional:
                raise BadRecord(name, "is missing" if name not in record else "must not be null")
            continue
        wrong = _scalar_fault(kind, value)
        if wrong:
            raise BadRecord(name, wrong)


def _scalar_fault(kind: str, value: object) -> str | None:
    if kind == "boolean":
        return None if isinstance(value, bool) else f"{value!r} is not a boolean"
    if kind == "double":
        real = isinstance(value, _REAL) and not isinstance(value, bool)
        return None if real else f"{value!r} is not a number"
    if kind in _INTEGERS:
        whole = isinstance(value, _INTEGER) and not isinstance(value, bool)
        return None if whole else f"{value!r} is not an integer"
    return None


def _check_ints(schema: str, record: Mapping[str, Any]) -> None:
    wrong = oversized(schema, record)
    if wrong is not None:
        raise BadRecord(wrong[0], f"{wrong[1]} is out of range for a 32-bit integer")


def _encode_fault(schema: str, record: Mapping[str, Any], error: Exception) -> BadRecord:
    unknown = [name for name in record if name not in {field.name for field in _fields(schema)}]
    if unknown:
        return BadRecord(str(unknown[0]), f"is not a field of {schema}")
    for field in _fields(schema):
        try:
            if field.name in record:
                fastavro.schemaless_writer(io.BytesIO(), field.parsed, record[field.name])
        except Exception as inner:
            return BadRecord(field.name, f"{inner}".splitlines()[0])
    return BadRecord("payload", f"{error}")


def _decode_fault(schema: str, body: bytes) -> BadRecord:
    source = io.BytesIO(body)
    for field in _fields(schema):
        start = source.tell()
        try:
            fastavro.schemaless_reader(source, field.parsed, None)
        except UnicodeDecodeError as error:
            return BadRecord(field.name, f"text is not UTF-8 ({error.reason} in byte {error.start} of it)")
        except (EOFError, IndexError, KeyError, ValueError, OverflowError, TypeError) as error:
            return BadRecord(field.name, _unreadable(body, start, error))
    return BadRecord("payload", "cannot be decoded")


def _unreadable(body: bytes, start: int, error: Exception) -> str:
    if isinstance(error, EOFError) or start >= len(body):
        return f"the record ends inside this field, which begins at byte {start} of {len(body)} of the body"
    return f"cannot be decoded at byte {start} of {len(body)} of the body ({type(error).__name__}: {error})"


def _check_canonical(schema: str, record: Mapping[str, Any], body: bytes) -> None:
    again = io.BytesIO()
    fastavro.schemaless_writer(again, _parsed(schema), record)
    if again.getvalue() != body:
        raise BadRecord(*_not_canonical(schema, body))


def _not_canonical(schema: str, body: bytes) -> tuple[str, str]:
    """Return the first field whose bytes differ from the canonical ones, and a reason."""
    source = io.BytesIO(body)
    for field in _fields(schema):
        start = source.tell()
        value: Any = fastavro.schemaless_reader(source, field.parsed, None)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, field.parsed, value)
        if again.getvalue() != body[start : source.tell()]:
            return field.name, "bytes are not canonical Avro (an overlong number, or an array or map in several blocks)"
    return "payload", "bytes are not canonical Avro"
