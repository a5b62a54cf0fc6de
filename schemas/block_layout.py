"""Records of one version of a schema to Arrow batches and back at once, by pyruhvro.

The five bytes before a body are read and written as two more Avro fields in front of the record, a boolean (one
byte, false for the magic byte 0) and a float (four raw bytes, the schema id): so no value is copied or sliced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyruhvro
from numpy.typing import NDArray

from rheostat.schemas.columns import Shape, shape
from rheostat.schemas.documents import plain
from rheostat.schemas.ids import IdTable
from rheostat.schemas.layouts import Layout
from rheostat.schemas.record_codec import HEADER_BYTES, BadRecord, decode_as_written, header_fault
from rheostat.schemas.sizes import TenByteNumberError, canonical_bytes

_FEW = 400
"""Up to about this many values, writing them again takes less time than working out how long they would be."""

_RECORD_BY_RECORD = 64
"""Rows of a run that cost about as much one by one as in the two halves."""

_HEADER_FIELDS = [{"name": "wire_magic", "type": "boolean"}, {"name": "wire_id", "type": "float"}]


class Failure(NamedTuple):
    """Why one row of a block could not be decoded; `field` is `payload` when the record as a whole is wrong."""

    row: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded block: `batch` holds the good rows, `rows` their indexes in the input, `failures` the others.

    Both are in input order. Timestamps are timestamp[ms], enums are strings, arrays are lists.
    """

    batch: pa.RecordBatch
    rows: NDArray[np.int64]
    failures: list[Failure]


class Undecodable(Exception):
    """At least one value of a run is bad; the text is the decoder's."""


def decode(layout: Layout, schema_id: int, values: Sequence[bytes | None]) -> pa.RecordBatch:
    """Decode values that all have this id and are canonical. Raises Undecodable."""
    batch = _read(_wire(layout), values)
    _check_header(batch, schema_id)
    _check_text(batch)
    batch = _without_header(batch)
    if not _is_canonical(layout, schema_id, batch, values):
        raise Undecodable("bytes are not canonical Avro")
    return batch


def decode_leading(
    layout: Layout, schema_id: int, values: Sequence[bytes | None], first_n_fields: int
) -> pa.RecordBatch:
    """Decode the first fields of values that all have this id. Raises Undecodable."""
    batch = _read(_wire(layout, first_n_fields), values)
    _check_header(batch, schema_id)
    _check_text(batch)
    return _without_header(batch)


def _is_canonical(layout: Layout, schema_id: int, batch: pa.RecordBatch, values: Sequence[bytes | None]) -> bool:
    """Whether writing the batch again would give these values; told from their length where that is cheaper."""
    if len(values) <= _FEW:
        return write(layout, batch.columns, batch.num_rows, schema_id) == list(values)
    try:
        size = sum(map(canonical_bytes, _plain_types(layout), batch.columns))
    except TenByteNumberError:
        return write(layout, batch.columns, batch.num_rows, schema_id) == list(values)
    # What has been decoded has no None among it.
    return size + HEADER_BYTES * len(values) == sum(map(len, values))  # type: ignore[arg-type]


def _read(avro: str, values: Sequence[bytes | None]) -> pa.RecordBatch:
    try:
        return pyruhvro.deserialize_array(values if isinstance(values, list) else list(values), avro)
    except BaseException as error:
        # A panic of the decoder's is no subclass of Exception; nothing of it is left behind but its message.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Undecodable(str(error)) from error
        raise


def _check_header(batch: pa.RecordBatch, schema_id: int) -> None:
    magic, wire_id = batch.column(0), batch.column(1)
    wanted = schema_id.to_bytes(4, "big") * len(batch)
    if magic.true_count or (wanted and wire_id.buffers()[1].slice(0, len(wanted)).to_pybytes() != wanted):
        raise Undecodable("another schema id or magic byte")


def _check_text(batch: pa.RecordBatch) -> None:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise Undecodable(str(error)) from error


def _without_header(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(range(len(_HEADER_FIELDS), batch.num_columns))


def write(layout: Layout, columns: list[pa.Array], count: int, schema_id: int) -> list[bytes]:
    """Return the message values of columns that are in order and fit."""
    if not count:
        return []
    wire_id = schema_id.to_bytes(4, "big")
    magic = pa.Array.from_buffers(pa.bool_(), count, [None, pa.py_buffer(bytes(count // 8 + 1))])
    id_column = pa.Array.from_buffers(pa.float32(), count, [None, pa.py_buffer(wire_id * count)])
    batch = pa.RecordBatch.from_arrays([magic, id_column, *columns], schema=_wire_arrow(layout))
    (encoded,) = pyruhvro.serialize_record_batch(batch, _wire(layout), 1)
    return list(encoded.to_pylist())


def decode_around_faults(layout: Layout, schema_id: int, values: Sequence[bytes | None], ids: IdTable) -> Decoded:
    """Decode what can be decoded of values that have this id, or none that is known, and say what cannot."""
    faults = (header_fault(layout.schema, value, ids) for value in values)
    failures = {row: Failure(row, "payload", fault) for row, fault in enumerate(faults) if fault}
    rows = [row for row in range(len(values)) if row not in failures]
    for row, text in _bad_rows(layout, schema_id, values, rows):
        failures[row] = _explain(layout, row, values[row], text)
    good = [row for row in rows if row not in failures]
    batch = decode(layout, schema_id, [values[row] for row in good])
    return Decoded(batch, np.array(good, np.int64), [failures[row] for row in sorted(failures)])


def _bad_rows(
    layout: Layout, schema_id: int, values: Sequence[bytes | None], rows: list[int]
) -> Iterator[tuple[int, str]]:
    """Yield the rows that do not decode, by halving every run that does not.

    A short run is read record by record first: where much is bad that is far cheaper than halving.
    """
    runs = [rows]
    while runs:
        run = runs.pop()
        try:
            decode(layout, schema_id, [values[row] for row in run])
        except Undecodable as error:
            bad = set(_unreadable(layout, values, run)) if len(run) <= _RECORD_BY_RECORD else set()
            yield from ((row, str(error)) for row in run if row in bad)
            if bad:
                runs += [[row for row in run if row not in bad]] if len(bad) < len(run) else []
            elif len(run) == 1:
                yield run[0], str(error)
            else:
                middle = len(run) // 2
                runs += [run[middle:], run[:middle]]


def _unreadable(layout: Layout, values: Sequence[bytes | None], rows: list[int]) -> Iterator[int]:
    """Yield the rows that the decoder for single records refuses."""
    for row in rows:
        try:
            decode_as_written(layout, (values[row] or b"")[HEADER_BYTES:])
        except BadRecord:
            yield row


def _explain(layout: Layout, row: int, value: bytes | None, text: str) -> Failure:
    """Name the field, by the decoder for single records; `text` is the block decoder's own message."""
    try:
        decode_as_written(layout, (value or b"")[HEADER_BYTES:])
    except BadRecord as bad:
        return Failure(row, bad.field, bad.reason)
    return Failure(row, "payload", text)


@cache
def arrow(layout: Layout) -> pa.Schema:
    """Return the Arrow schema of a version's blocks."""
    return pyruhvro.avro_to_arrow_schema(json.dumps(layout.document))


@cache
def _plain_types(layout: Layout) -> tuple[Any, ...]:
    return tuple(field["type"] for field in plain(layout.document)["fields"])


@cache
def shape_of(layout: Layout) -> Shape:
    """Return what a batch must be to be written."""
    expected = arrow(layout)
    types = zip(expected.names, _plain_types(layout), strict=True)
    enums = {name: avro["symbols"] for name, avro in types if isinstance(avro, dict) and avro["type"] == "enum"}
    return shape(expected, {name: pa.array(symbols) for name, symbols in enums.items()})


@cache
def _wire_arrow(layout: Layout) -> pa.Schema:
    fields = [pa.field("wire_magic", pa.bool_(), False), pa.field("wire_id", pa.float32(), False)]
    return pa.schema([*fields, *arrow(layout)])


@cache
def _wire(layout: Layout, first_n_fields: int | None = None) -> str:
    avro = layout.document
    return json.dumps({**avro, "fields": [*_HEADER_FIELDS, *avro["fields"][:first_n_fields]]})
