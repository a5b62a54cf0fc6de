"""Columns of records of an older version as the present version has them: Avro's schema resolution on Arrow.

Done here: fields that came with a default, went, or moved; wider numbers; what may be null now; inside arrays and
records too. Whatever else Avro allows (other unions, enum symbols that are gone, names) raises NotColumnar, and is to
be read record by record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rheostat.schemas.documents import Document, plain

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "string"})
_WIDER: Mapping[str, tuple[str, ...]] = {"int": ("long", "double"), "long": ("double",), "float": ("double",)}


class NotColumnar(Exception):
    """A change that Arrow columns are not taken through; the text names it."""


def leading(writer: Document, reader: Document, first_n_fields: int) -> int:
    """Return how many fields of the writer's hold all that the reader's first fields are made of."""
    order = [field["name"] for field in writer["fields"]]
    found = [_source(field, writer) for field in reader["fields"][:first_n_fields]]
    return max((order.index(field["name"]) + 1 for field in found if field is not None), default=0)


def resolved(batch: pa.RecordBatch, writer: Document, reader: Document, expected: pa.Schema) -> pa.RecordBatch:
    """Return a batch of records that the writer's version describes, as the reader's describes them.

    expected: the Arrow schema of the reader's, or of its first fields; so many come back. Raises NotColumnar.
    """
    fields = reader["fields"][: len(expected)]
    columns = _fields(dict(zip(batch.schema.names, batch.columns, strict=True)), len(batch), writer, fields, expected)
    if not columns:
        return batch.select([])
    return pa.RecordBatch.from_arrays(columns, schema=expected)


def _fields(
    columns: Mapping[str, pa.Array],
    count: int,
    writer: Document,
    fields: Sequence[Mapping[str, Any]],
    expected: Sequence[pa.Field],
) -> list[pa.Array]:
    found = []
    for field, wanted in zip(fields, expected, strict=True):
        source = _source(field, writer)
        if source is None:
            found.append(_default(field, count, wanted.type))
        else:
            found.append(_column(columns[source["name"]], plain(source["type"]), plain(field["type"]), wanted.type))
    return found


def _source(field: Mapping[str, Any], writer: Document) -> Mapping[str, Any] | None:
    """Return the writer's field that a field of the reader is read from."""
    written: dict[str, Mapping[str, Any]] = {each["name"]: each for each in writer["fields"]}
    return next((written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None)


def _default(field: Mapping[str, Any], count: int, wanted: pa.DataType) -> pa.Array:
    value = field.get("default")
    if "default" not in field or isinstance(value, dict) or (isinstance(value, list) and value):
        raise NotColumnar(f"the default of {field['name']}")
    return pa.nulls(count, wanted) if value is None else pa.array([value], wanted).take(np.zeros(count, np.int32))


def _column(column: pa.Array, writer: Any, reader: Any, wanted: pa.DataType) -> pa.Array:
    written, read = _present(writer), _present(reader)
    if written is not writer and read is reader:
        raise NotColumnar("what could be null")
    if isinstance(written, str) or isinstance(read, str):
        return _primitive(column, written, read, wanted)
    if isinstance(written, list) or isinstance(read, list) or written["type"] != read["type"]:
        raise NotColumnar("another type")
    if read["type"] == "enum" and set(written["symbols"]) <= set(read["symbols"]):
        return column
    if read["type"] == "array" and not column.null_count:
        items = _column(column.flatten(), written["items"], read["items"], wanted.value_type)
        return pa.ListArray.from_arrays(column.offsets, items, type=wanted)
    if read["type"] == "record" and not column.null_count:
        inner = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        fields = list(wanted)
        return pa.StructArray.from_arrays(_fields(inner, len(column), written, read["fields"], fields), fields=fields)
    raise NotColumnar(str(read["type"]))


def _present(avro: Any) -> Any:
    """Return the type of what is not null, of a type that may be."""
    if isinstance(avro, list) and len(avro) == 2 and "null" in avro:
        return avro[1 - avro.index("null")]
    return avro


def _primitive(column: pa.Array, written: Any, read: Any, wanted: pa.DataType) -> pa.Array:
    if written not in _PRIMITIVES or (read != written and read not in _WIDER.get(written, ())):
        raise NotColumnar(f"{written} as {read}")
    if read == "long" and written == "int":
        column = column.cast(pa.int64())  # which alone becomes a timestamp
    # As a double, a long may lose its last digits.
    return column if column.type == wanted else column.cast(wanted, safe=False)
