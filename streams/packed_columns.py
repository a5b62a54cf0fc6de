"""Some columns of our own records, taken out where the records lie instead of decoding all of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, count, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.codec import arrow_schema
from rheostat.schemas.documents import document, plain
from rheostat.schemas.ids import in_force
from rheostat.schemas.record_codec import header_of
from rheostat.streams.avro_gather import SLACK_BYTES, gather
from rheostat.streams.avro_scan import DOUBLE, DOUBLES, NULLABLE, NUMBER, TEXT, TEXTS, scan
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.packed import Packed, packed
from rheostat.streams.own_records import decode_all_own

_BYTES_MAX = 2**31 - 1
"""More than that Arrow's offsets cannot tell apart."""

_ALIGNED_BYTES = 64
_LONG = 2**63
_INT = 2**31


class _Kind(NamedTuple):
    """What `avro_scan` knows a type by, and the limits of a number or of a length; symbols: those of an enum."""

    kind: int
    least: int
    most: int
    symbols: Sequence[str] = ()


class _Column(NamedTuple):
    """One column that is wanted: where it goes; `valid` is -1 where it is never null."""

    field: pa.Field
    kind: int
    slot: int
    valid: int
    symbols: Sequence[str]


class _Program(NamedTuple):
    """How columns of a topic are read. fields: a program of `avro_scan`. kinds: of what is of any length, by slot."""

    fields: NDArray[np.int64]
    columns: Sequence[_Column]
    kinds: NDArray[np.int64]
    schema: pa.Schema


class _Found(NamedTuple):
    """What `avro_scan.scan` found, and what `avro_gather.gather` made of it."""

    rows: int
    numbers: NDArray[np.int64]
    valid: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    out: NDArray[np.uint8]
    starts: NDArray[np.int64]
    item_ends: NDArray[np.int32]
    item_starts: NDArray[np.int64]


def own_columns(blocks: Sequence[Block], names: Sequence[str]) -> pa.RecordBatch:
    """Return columns of blocks of one topic, at least one; see `own_records.decode_own`."""
    found = read_columns(blocks[0].topic, list(map(packed, blocks)), names)
    return decode_all_own(blocks).select(list(names)) if found is None else found


def read_columns(topic: str, runs: Sequence[Packed], names: Sequence[str]) -> pa.RecordBatch | None:
    """Return columns of records of all runs, one behind the other, exactly as `codec.decode_own` would.

    None if a record was not written by our codec under the present version of the topic's schema, or if the schema has
    fields other than strings, numbers, enums, and arrays of strings or doubles: then decoding knows better, or says
    what is wrong. Raises KeyError for an unknown name, TypeError for topics without a block form.
    """
    program = _program(topic, tuple(names))
    if program is None or sum(len(run.data) for run in runs) > _BYTES_MAX:
        return None
    header = int.from_bytes(header_of(in_force().id_of(topic)), "little")
    found = _found(program, header, runs)
    if found is None:
        return None
    return pa.RecordBatch.from_arrays([_array(each, found) for each in program.columns], schema=program.schema)


def _found(program: _Program, header: int, runs: Sequence[Packed]) -> _Found | None:
    firsts = list(accumulate(map(len, runs), initial=0))
    rows, texts = firsts[-1], len(program.kinds)
    numbers = np.empty((sum(each.kind < TEXT for each in program.columns), rows), np.int64)
    valid = np.empty((sum(each.valid >= 0 for each in program.columns), rows), np.bool_)
    begins, offsets = np.empty((texts, rows), np.int32), np.zeros((texts, rows + 1), np.int32)
    spans = np.zeros(texts, np.int64)
    for run, first in zip(runs, firsts, strict=False):
        if not scan(run.data, run.ends, header, program.fields, first, numbers, valid, begins, offsets, spans):
            return None
    starts, size = _places(spans + SLACK_BYTES, _ALIGNED_BYTES)
    item_starts, items = _places(np.where(program.kinds == TEXTS, offsets[:, -1] + 1, 0))
    out, item_ends = np.empty(size, np.uint8), np.empty(items, np.int32)
    item_ends[item_starts[program.kinds == TEXTS]] = 0
    for run, (first, end) in zip(runs, pairwise(firsts), strict=True):
        gather(run.data, first, end, program.kinds, begins, offsets, out, starts, item_ends, item_starts)
    return _Found(rows, numbers, valid, offsets, out, starts, item_ends, item_starts)


def _places(sizes: NDArray[np.int64], aligned: int = 1) -> tuple[NDArray[np.int64], int]:
    """Return where things of these sizes begin, one behind the other, and how much room they take."""
    room = -(-sizes // aligned) * aligned
    ends = np.cumsum(room)
    return ends - room, int(room.sum())


def _array(column: _Column, found: _Found) -> pa.Array:
    type_, slot, rows = column.field.type, column.slot, found.rows
    valid = None
    if column.valid >= 0 and not (flags := found.valid[column.valid]).all():
        valid = _bits(flags)
    if column.kind < TEXT:
        return _numbers(column, found.numbers[slot], valid)
    offsets, data = found.offsets[slot], pa.py_buffer(found.out[found.starts[slot] :])
    if column.kind == TEXT:
        return pa.Array.from_buffers(type_, rows, [valid, pa.py_buffer(offsets), data])
    item_ends = pa.py_buffer(found.item_ends[found.item_starts[slot] :])
    buffers = [None, item_ends, data] if column.kind == TEXTS else [None, data]
    items = pa.Array.from_buffers(type_.value_type, int(offsets[-1]), buffers)
    return pa.Array.from_buffers(type_, rows, [valid, pa.py_buffer(offsets)], children=[items])


def _numbers(column: _Column, numbers: NDArray[np.int64], valid: pa.Buffer | None) -> pa.Array:
    type_ = column.field.type
    if column.symbols:
        places = pa.Array.from_buffers(pa.int64(), len(numbers), [valid, pa.py_buffer(numbers)])
        return pa.array(column.symbols, type_).take(places)
    if pa.types.is_boolean(type_):
        return pa.Array.from_buffers(type_, len(numbers), [valid, _bits(numbers != 0)])
    data = numbers.astype(np.int32) if type_.bit_width == 32 else numbers
    return pa.Array.from_buffers(type_, len(numbers), [valid, pa.py_buffer(data)])


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


@cache
def _program(topic: str, names: tuple[str, ...]) -> _Program | None:
    expected = arrow_schema(topic)
    schema = pa.schema([expected.field(name) for name in names])
    fields: list[tuple[int, ...]] = []
    columns: dict[str, _Column] = {}
    kinds: list[int] = []
    numbers, valids = count(), count()
    for name, avro in ((each["name"], each["type"]) for each in plain(document(topic))["fields"]):
        nullable = isinstance(avro, list)
        found = _kind(avro[1] if nullable and avro[0] == "null" else avro)
        if found is None:
            return None
        slot = valid = -1
        if name in names:
            slot = next(numbers) if found.kind < TEXT else len(kinds)
            valid = next(valids) if nullable else -1
            kinds += [found.kind] if found.kind >= TEXT else []
        columns[name] = _Column(expected.field(name), found.kind, slot, valid, found.symbols)
        fields.append((found.kind + NULLABLE * nullable, slot, valid, found.least, found.most))
    program = np.ascontiguousarray(np.array(fields, np.int64).T)
    return _Program(program, [columns[name] for name in names], np.array(kinds, np.int64), schema)


def _kind(avro: Any) -> _Kind | None:
    if isinstance(avro, dict) and avro["type"] == "enum":
        return _Kind(NUMBER, 0, len(avro["symbols"]) - 1, avro["symbols"])
    known = (
        ("double", _Kind(DOUBLE, 0, 0)),
        ("int", _Kind(NUMBER, -_INT, _INT - 1)),
        ("long", _Kind(NUMBER, -_LONG, _LONG - 1)),
        ("boolean", _Kind(NUMBER, -1, 0)),
        ("string", _Kind(TEXT, 0, _BYTES_MAX)),
        ({"type": "array", "items": "double"}, _Kind(DOUBLES, 0, _BYTES_MAX)),
        ({"type": "array", "items": "string"}, _Kind(TEXTS, 0, _BYTES_MAX)),
    )
    return next((kind for each, kind in known if each == avro), None)
