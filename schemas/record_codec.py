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

from rheostat.schemas.documents import plain
from rheostat.schemas.ids import IdTable, in_force
from rheostat.schemas.int_ranges import oversized
from rheostat.schemas.layouts import Layout, present

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


def encode_record(schema: str, record: Mapping[str, Any], *, ids: IdTable | None = None) -> bytes:
    """Return the wire bytes of a record: magic byte, schema id, Avro body. Raises BadRecord naming the field."""
    return header(schema, ids or in_force()) + encode_body(schema, record)


def decode_record(schema: str, value: bytes | None, *, ids: IdTable | None = None) -> dict[str, Any]:
    """Return the record in a message value written with this schema, or an older version of it; raises BadRecord."""
    ids = ids or in_force()
    wrong = header_fault(schema, value, ids)
    if wrong is not None or value is None:
        raise BadRecord("payload", wrong or "no value")
    older = ids.earlier.get(wire_id(value))
    return decode_body(schema, value[HEADER_BYTES:]) if older is None else _resolved(older, value[HEADER_BYTES:])


def encode_body(schema: str, record: Mapping[str, Any]) -> bytes:
    """Return the Avro body alone, without magic byte and id; raises BadRecord naming the field."""
    layout = present(schema)
    _check_scalars(layout, record)
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, _parsed(layout), record, strict_allow_default=True)
    except Exception as error:
        raise _encode_fault(layout, record, error) from error
    _check_ints(layout, record)
    return out.getvalue()


def decode_body(schema: str, body: bytes) -> dict[str, Any]:
    """Return the record in an Avro body without magic byte and id; raises BadRecord naming the field."""
    return decode_as_written(present(schema), body)


def decode_as_written(layout: Layout, body: bytes) -> dict[str, Any]:
    """Return the record in an Avro body as the version of its schema has it; raises BadRecord naming the field."""
    source = io.BytesIO(body)
    try:
        record = cast(dict[str, Any], fastavro.schemaless_reader(source, _parsed(layout), None))
    except Exception as error:
        raise _decode_fault(layout, body) from error
    if source.tell() != len(body):
        extra = len(body) - source.tell()
        raise BadRecord("payload", f"{extra} bytes too many behind the last field")
    _check_canonical(layout, record, body)
    _check_ints(layout, record)
    return record


def _resolved(older: Layout, body: bytes) -> dict[str, Any]:
    """Return a record of an older version as the present one has it, by Avro's rules of schema resolution."""
    decode_as_written(older, body)
    try:
        found = fastavro.schemaless_reader(io.BytesIO(body), _parsed(older), _parsed(present(older.schema)))
    except Exception as error:
        raise BadRecord(
            "payload", f"was written under a version of {older.schema} that cannot be read: {error}"
        ) from error
    return cast(dict[str, Any], found)


def header(schema: str, ids: IdTable) -> bytes:
    """Return the five bytes before the body: 0x00 and the schema id, big-endian."""
    return header_of(ids.id_of(schema))


def header_of(schema_id: int) -> bytes:
    """Return the five bytes before a body that was written under a schema with this id."""
    return _MAGIC + schema_id.to_bytes(4, "big")


def wire_id(value: bytes) -> int:
    """Return the schema id of a message value that has one."""
    return int.from_bytes(value[1:HEADER_BYTES], "big")


def header_fault(schema: str, value: bytes | None, ids: IdTable) -> str | None:
    """Return what is wrong with a value before its body, in words; None if nothing is."""
    if not isinstance(value, bytes):
        return "no value: a record without payload cannot be feedback or state" if value is None else "not bytes"
    if len(value) < HEADER_BYTES:
        return f"{len(value)} bytes, a record has at least {HEADER_BYTES}"
    if value[:1] != _MAGIC:
        return f"first byte is 0x{value[0]:02x}, expected 0x00 (Confluent wire format: 0x00, 4-byte schema id, body)"
    return _id_fault(schema, wire_id(value), ids)


def _id_fault(schema: str, found: int, ids: IdTable) -> str | None:
    expected = ids.id_of(schema)
    if found == expected:
        return None
    other = ids.name_of(found)
    if other == schema:
        return None
    if other is not None:
        return f"schema id {found} is that of {other}; {schema} has {expected}"
    known = ", ".join(f"{number} ({name})" for name, number in ids.ids.items())
    return f"schema id {found} is not known; {schema} has {expected}; known ids are {known}"


@cache
def _parsed(layout: Layout) -> Any:
    return fastavro.parse_schema(plain(layout.document))


@cache
def _fields(layout: Layout) -> tuple[_Field, ...]:
    # Named types are shared between the fields' schemas, so that a later field may refer to an earlier one's.
    named: dict[str, Any] = {}
    return tuple(_field(field, named) for field in plain(layout.document)["fields"])


def _field(field: Mapping[str, Any], named: dict[str, Any]) -> _Field:
    avro = field["type"]
    optional = isinstance(avro, list) and len(avro) == 2 and avro[0] == "null"
    inner = avro[1] if optional else avro
    kind = inner if isinstance(inner, str) else "other"
    return _Field(field["name"], kind, fastavro.parse_schema(avro, named), optional or "default" in field)


def _check_scalars(layout: Layout, record: Mapping[str, Any]) -> None:
    """Refuse what fastavro would quietly change: text or fractions for numbers, numbers for booleans."""
    for name, kind, _, optional in _fields(layout):
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


def _check_ints(layout: Layout, record: Mapping[str, Any]) -> None:
    wrong = oversized(layout, record)
    if wrong is not None:
        raise BadRecord(wrong[0], f"{wrong[1]} is out of range for a 32-bit integer")


def _encode_fault(layout: Layout, record: Mapping[str, Any], error: Exception) -> BadRecord:
    unknown = [name for name in record if name not in {field.name for field in _fields(layout)}]
    if unknown:
        return BadRecord(str(unknown[0]), f"is not a field of {layout.schema}")
    for field in _fields(layout):
        try:
            if field.name in record:
                fastavro.schemaless_writer(io.BytesIO(), field.parsed, record[field.name])
        except Exception as inner:
            return BadRecord(field.name, f"{inner}".splitlines()[0])
    return BadRecord("payload", f"{error}")


def _decode_fault(layout: Layout, body: bytes) -> BadRecord:
    source = io.BytesIO(body)
    for field in _fields(layout):
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


def _check_canonical(layout: Layout, record: Mapping[str, Any], body: bytes) -> None:
    again = io.BytesIO()
    fastavro.schemaless_writer(again, _parsed(layout), record)
    if again.getvalue() != body:
        raise BadRecord(*_not_canonical(layout, body))


def _not_canonical(layout: Layout, body: bytes) -> tuple[str, str]:
    """Return the first field whose bytes differ from the canonical ones, and a reason."""
    source = io.BytesIO(body)
    for field in _fields(layout):
        start = source.tell()
        value: Any = fastavro.schemaless_reader(source, field.parsed, None)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, field.parsed, value)
        if again.getvalue() != body[start : source.tell()]:
            return field.name, "bytes are not canonical Avro (an overlong number, or an array or map in several blocks)"
    return "payload", "bytes are not canonical Avro"
