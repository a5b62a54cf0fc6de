"""Hypothesis strategies for older versions of our schemas: what they may have been before a change that is allowed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro
from hypothesis import strategies as st

from rheostat.schemas.codec import encode_record
from rheostat.schemas.documents import document, plain
from rheostat.schemas.ids import COMMITTED, IdTable
from rheostat.schemas.layouts import Layout
from rheostat.schemas.record_codec import header_of
from tests.unit.schemas.strategies import Record, records, records_of

_NARROWER: Mapping[str, tuple[str, ...]] = {"long": ("int",), "double": ("int", "long", "float"), "float": ("int",)}
_GONE: tuple[Any, ...] = (
    "string",
    "long",
    "bytes",
    ["null", "double"],
    {"type": "array", "items": "string"},
    {"type": "map", "values": "long"},
)


@st.composite
def versions(draw: st.DrawFn, avro: Any) -> Any:
    """A type whose every value can be read as one of this type."""
    if isinstance(avro, list):
        inner = draw(versions(avro[1]))
        return inner if draw(st.booleans()) else ["null", inner]
    if isinstance(avro, str):
        return draw(st.sampled_from([avro, *_NARROWER.get(avro, ())]))
    if avro["type"] == "array":
        return {**avro, "items": draw(versions(avro["items"]))}
    if avro["type"] == "map":
        return {**avro, "values": draw(versions(avro["values"]))}
    if avro["type"] == "enum":
        return {**avro, "symbols": avro["symbols"][: draw(st.integers(1, len(avro["symbols"])))]}
    return {**avro, "fields": draw(_fields(avro["fields"]))} if avro["type"] == "record" else avro


@st.composite
def _fields(draw: st.DrawFn, fields: list[Any]) -> list[Any]:
    """Without some that have a default, others of a narrower type, some that are gone now, and in another order."""
    kept = [field for field in fields if "default" not in field or draw(st.booleans())]
    older = [{"name": field["name"], "type": draw(versions(field["type"]))} for field in kept]
    if draw(st.booleans()):
        older.insert(draw(st.integers(0, len(older))), {"name": "gone", "type": draw(st.sampled_from(_GONE))})
    return draw(st.permutations(older)) if draw(st.integers(0, 3)) == 0 else older


def older_versions(schema: str) -> st.SearchStrategy[Layout]:
    """An older version of a schema."""
    found: st.SearchStrategy[Layout] = versions(plain(document(schema))).map(lambda avro: Layout(schema, avro))
    return found


def table_with(*older: Layout, first_id: int = 900) -> IdTable:
    """The committed ids, and these versions from `first_id` on."""
    return COMMITTED.replaced({}, dict(enumerate(older, first_id)))


def value_of(older: Layout, schema_id: int, record: Record) -> bytes:
    """A message value as it was written under an older version."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(plain(older.document)), record)
    return header_of(schema_id) + body.getvalue()


def as_resolved(older: Layout, value: bytes) -> bytes:
    """The value as the present version writes what Avro's own resolution makes of it."""
    writer, reader = (fastavro.parse_schema(plain(avro)) for avro in (older.document, document(older.schema)))
    record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), writer, reader)
    return encode_record(older.schema, record)


@st.composite
def mixtures(draw: st.DrawFn, schema: str, *, size: int = 8) -> tuple[IdTable, list[bytes], list[bytes]]:
    """A table with two older versions, values of all three mixed, and what they are under the present one."""
    older = [draw(older_versions(schema)) for _ in range(2)]
    values, present = [], []
    for which in draw(st.lists(st.integers(-1, 1), min_size=1, max_size=size)):
        if which < 0:
            values.append(encode_record(schema, draw(records(schema))))
            present.append(values[-1])
        else:
            values.append(value_of(older[which], 900 + which, draw(records_of(older[which].document))))
            present.append(as_resolved(older[which], values[-1]))
    return table_with(*older), values, present
