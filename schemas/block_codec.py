"""Many records to bytes and back at once: Avro in the Confluent wire format to Arrow batches, by pyruhvro.

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

from rheostat.schemas.columns import Shape, fitted, shape
from rheostat.schemas.documents import document, has_blocks, plain
from rheostat.schemas.ids import COMMITTED, IdTable
from rheostat.schemas.record_codec import HEADER_BYTES, BadRecord, decode_body, header_fault
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


class _Undecodable(Exception):
    """At least one value of a run is bad; the text is the decoder's."""


@cache
def arrow_schema(schema: str) -> pa.Schema:
    """Return the Arrow schema of a topic's blocks."""
    return pyruhvro.avro_to_arrow_schema(_avro(_checked(schema)))


def decode_block(schema: str, values: Sequence[bytes | None], *, ids: IdTable = COMMITTED) -> Decoded:
    """Decode a run of message values; bad ones become failures and their neighbours keep their order.

    Costs one pass when all are good. Bad ones are found by bisection: k bad values of n cost about k log n calls.
    Raises TypeError for schemas with bytes or maps, which have no block form.
    """
    _checked(schema)
    try:
        return Decoded(_decode(schema, values, ids), np.arange(len(values)), [])
    except _Undecodable:
        return _decode_around_faults(schema, values, ids)


def decode_fields(
    schema: str, values: Sequence[bytes | None], first_n_fields: int, *, ids: IdTable = COMMITTED
) -> pa.RecordBatch:
    """Decode only the first fields of every value; what follows them is not looked at.

    For reading our own records again. Raises BadRecord, its reason naming the row, if any value is bad.
    """
    _checked(schema)
    try:
        batch = _read(_wire(schema, first_n_fields), values)
        _check_header(batch, ids.id_of(schema))
        _check_text(batch)
    except _Undecodable as error:
        raise _first_fault(schema, values, ids, str(error)) from error
    return _without_header(batch)


def decode_own(schema: str, values: Sequence[bytes | None], *, ids: IdTable = COMMITTED) -> pa.RecordBatch:
    """Decode records that our own stages wrote in transactions, without asking whether they are canonical Avro.

    That question is for what comes from outside, and costs as much as the decoding of a small block. Raises BadRecord,
    its reason naming the row, if any value is bad.
    """
    return decode_fields(schema, values, len(arrow_schema(schema)), ids=ids)


def encode_block(schema: str, batch: pa.RecordBatch, *, ids: IdTable = COMMITTED) -> list[bytes]:
    """Return the complete message value of every row of a batch, which has exactly the fields of the schema.

    Columns are cast where nothing is lost (dictionaries, large strings, narrower integers). Raises TypeError naming the
    column for a missing, unknown or unsuitable one, for a null where none may be, and for an unknown enum symbol.
    """
    return _write(schema, fitted(schema, batch, _shape(schema)), batch.num_rows, ids)


def _write(schema: str, columns: list[pa.Array], count: int, ids: IdTable) -> list[bytes]:
    if not count:
        return []
    wire_id = ids.id_of(schema).to_bytes(4, "big")
    magic = pa.Array.from_buffers(pa.bool_(), count, [None, pa.py_buffer(bytes(count // 8 + 1))])
    id_column = pa.Array.from_buffers(pa.float32(), count, [None, pa.py_buffer(wire_id * count)])
    batch = pa.RecordBatch.from_arrays([magic, id_column, *columns], schema=_wire_arrow(schema))
    (encoded,) = pyruhvro.serialize_record_batch(batch, _wire(schema), 1)
    return list(encoded.to_pylist())


def _decode(schema: str, values: Sequence[bytes | None], ids: IdTable) -> pa.RecordBatch:
    batch = _read(_wire(schema), values)
    _check_header(batch, ids.id_of(schema))
    _check_text(batch)
    batch = _without_header(batch)
    if not _is_canonical(schema, batch, values, ids):
        raise _Undecodable("bytes are not canonical Avro")
    return batch


def _is_canonical(schema: str, batch: pa.RecordBatch, values: Sequence[bytes | None], ids: IdTable) -> bool:
    """Whether writing the batch again would give these values; told from their length where that is cheaper."""
    if len(values) <= _FEW:
        return _write(schema, batch.columns, batch.num_rows, ids) == list(values)
    try:
        size = sum(map(canonical_bytes, _plain_types(schema), batch.columns))
    except TenByteNumberError:
        return _write(schema, batch.columns, batch.num_rows, ids) == list(values)
    # What has been decoded has no None among it.
    return size + HEADER_BYTES * len(values) == sum(map(len, values))  # type: ignore[arg-type]


def _read(avro: str, values: Sequence[bytes | None]) -> pa.RecordBatch:
    try:
        return pyruhvro.deserialize_array(values if isinstance(values, list) else list(values), avro)
    except BaseException as error:
        # A panic of the decoder's is no subclass of Exception; nothing of it is left behind but its message.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _Undecodable(str(error)) from error
        raise


def _check_header(batch: pa.RecordBatch, schema_id: int) -> None:
    magic, wire_id = batch.column(0), batch.column(1)
    wanted = schema_id.to_bytes(4, "big") * len(batch)
    if magic.true_count or (wanted and wire_id.buffers()[1].slice(0, len(wanted)).to_pybytes() != wanted):
        raise _Undecodable("another schema id or magic byte")


def _check_text(batch: pa.RecordBatch) -> None:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _Undecodable(str(error)) from error


def _without_header(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(range(len(_HEADER_FIELDS), batch.num_columns))


def _decode_around_faults(schema: str, values: Sequence[bytes | None], ids: IdTable) -> Decoded:
    faults = (header_fault(schema, value, ids) for value in values)
    failures = {row: Failure(row, "payload", fault) for row, fault in enumerate(faults) if fault}
    rows = [row for row in range(len(values)) if row not in failures]
    for row, text in _bad_rows(schema, values, rows, ids):
        failures[row] = _explain(schema, row, values[row], text)
    good = [row for row in rows if row not in failures]
    batch = _decode(schema, [values[row] for row in good], ids)
    return Decoded(batch, np.array(good, np.int64), [failures[row] for row in sorted(failures)])


def _bad_rows(schema: str, values: Sequence[bytes | None], rows: list[int], ids: IdTable) -> Iterator[tuple[int, str]]:
    """Yield the rows that do not decode, by halving every run that does not.

    A short run is read record by record first: where much is bad that is far cheaper than halving.
    """
    runs = [rows]
    while runs:
        run = runs.pop()
        try:
            _decode(schema, [values[row] for row in run], ids)
        except _Undecodable as error:
            bad = set(_unreadable(schema, values, run)) if len(run) <= _RECORD_BY_RECORD else set()
            yield from ((row, str(error)) for row in run if row in bad)
            if bad:
                runs += [[row for row in run if row not in bad]] if len(bad) < len(run) else []
            elif len(run) == 1:
                yield run[0], str(error)
            else:
                middle = len(run) // 2
                runs += [run[middle:], run[:middle]]


def _unreadable(schema: str, values: Sequence[bytes | None], rows: list[int]) -> Iterator[int]:
    """Yield the rows that the decoder for single records refuses."""
    for row in rows:
        try:
            decode_body(schema, (values[row] or b"")[HEADER_BYTES:])
        except BadRecord:
            yield row


def _explain(schema: str, row: int, value: bytes | None, text: str) -> Failure:
    """Name the field, by the decoder for single records; `text` is the block decoder's own message."""
    try:
        decode_body(schema, (value or b"")[HEADER_BYTES:])
    except BadRecord as bad:
        return Failure(row, bad.field, bad.reason)
    return Failure(row, "payload", text)


def _first_fault(schema: str, values: Sequence[bytes | None], ids: IdTable, text: str) -> BadRecord:
    failures = _decode_around_faults(schema, values, ids).failures
    if not failures:
        return BadRecord("payload", text)
    row, field, reason = failures[0]
    return BadRecord(field, f"{reason} (row {row} of {len(values)})")


def _checked(schema: str) -> str:
    if not has_blocks(schema):
        raise TypeError(f"{schema} has bytes or map fields and no block form; use decode_record and encode_record")
    return schema


@cache
def _plain_types(schema: str) -> tuple[Any, ...]:
    return tuple(field["type"] for field in plain(document(schema))["fields"])


@cache
def _shape(schema: str) -> Shape:
    expected = arrow_schema(schema)
    types = zip(expected.names, _plain_types(schema), strict=True)
    enums = {name: avro["symbols"] for name, avro in types if isinstance(avro, dict) and avro["type"] == "enum"}
    return shape(expected, {name: pa.array(symbols) for name, symbols in enums.items()})


@cache
def _wire_arrow(schema: str) -> pa.Schema:
    fields = [pa.field("wire_magic", pa.bool_(), False), pa.field("wire_id", pa.float32(), False)]
    return pa.schema([*fields, *arrow_schema(schema)])


@cache
def _avro(schema: str) -> str:
    return json.dumps(document(schema))


@cache
def _wire(schema: str, first_n_fields: int | None = None) -> str:
    avro = document(schema)
    return json.dumps({**avro, "fields": [*_HEADER_FIELDS, *avro["fields"][:first_n_fields]]})
