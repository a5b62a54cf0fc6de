"""Many records to bytes and back at once: Avro in the Confluent wire format to Arrow batches.

What is of the present version of a schema takes one call of `block_layout`. Records of older versions are decoded
under theirs and taken to the present one by `resolution`, whole columns at a time wherever that can be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from rheostat.schemas.block_layout import (
    Decoded,
    Failure,
    Undecodable,
    arrow,
    decode,
    decode_around_faults,
    decode_leading,
    shape_of,
    write,
)
from rheostat.schemas.columns import fitted
from rheostat.schemas.documents import has_blocks, is_columnar
from rheostat.schemas.ids import IdTable, in_force
from rheostat.schemas.layouts import Layout, present
from rheostat.schemas.record_codec import HEADER_BYTES, BadRecord, decode_record, header_of
from rheostat.schemas.resolution import NotColumnar, leading, resolved


@cache
def arrow_schema(schema: str) -> pa.Schema:
    """Return the Arrow schema of a topic's blocks."""
    return arrow(_checked(schema))


def decode_block(schema: str, values: Sequence[bytes | None], *, ids: IdTable | None = None) -> Decoded:
    """Decode a run of message values; bad ones become failures and their neighbours keep their order.

    Costs one pass when all are good and of the present version; records of older versions are a pass for each. Bad ones
    are found by bisection: k bad values of n cost about k log n calls. Raises TypeError for schemas with bytes or maps,
    which have no block form.
    """
    layout, ids = _checked(schema), ids or in_force()
    try:
        return Decoded(decode(layout, ids.id_of(schema), values), np.arange(len(values)), [])
    except Undecodable:
        return _decode_by_version(layout, values, ids)


def decode_fields(
    schema: str, values: Sequence[bytes | None], first_n_fields: int, *, ids: IdTable | None = None
) -> pa.RecordBatch:
    """Decode only the first fields of every value; what follows them is not looked at.

    For reading our own records again. Raises BadRecord, its reason naming the row, if any value is bad.
    """
    layout, ids = _checked(schema), ids or in_force()
    try:
        return decode_leading(layout, ids.id_of(schema), values, first_n_fields)
    except Undecodable as error:
        first = error
    try:
        if ids.earlier_of(schema):
            return _decode_leading_by_version(layout, values, first_n_fields, ids)
    except Undecodable as error:
        first = error
    raise _first_fault(schema, values, ids, str(first)) from first


def decode_own(schema: str, values: Sequence[bytes | None], *, ids: IdTable | None = None) -> pa.RecordBatch:
    """Decode records that our own stages wrote in transactions, without asking whether they are canonical Avro.

    That question is for what comes from outside, and costs as much as the decoding of a small block. Raises BadRecord,
    its reason naming the row, if any value is bad.
    """
    return decode_fields(schema, values, len(arrow_schema(schema)), ids=ids)


def encode_block(schema: str, batch: pa.RecordBatch, *, ids: IdTable | None = None) -> list[bytes]:
    """Return the complete message value of every row of a batch, which has exactly the fields of the schema.

    Columns are cast where nothing is lost (dictionaries, large strings, narrower integers). Raises TypeError naming the
    column for a missing, unknown or unsuitable one, for a null where none may be, and for an unknown enum symbol.
    """
    layout = _checked(schema)
    return write(layout, fitted(schema, batch, shape_of(layout)), batch.num_rows, (ids or in_force()).id_of(schema))


def _decode_by_version(layout: Layout, values: Sequence[bytes | None], ids: IdTable) -> Decoded:
    """Decode the records of each version for themselves; what is of none is looked at as of the present one."""
    parts = []
    for schema_id, version, rows in _versions(layout, values, ids):
        some = [values[row] for row in rows]
        if len(some) == len(values) and version is layout:
            decoded = decode_around_faults(layout, schema_id, some, ids)  # all at once did not go
        elif version is layout:
            decoded = _decode_one(layout, schema_id, some, ids)
        else:
            decoded = _decode_older(version, schema_id, layout, some, ids)
        failures = [failure._replace(row=rows[failure.row]) for failure in decoded.failures]
        parts.append(Decoded(decoded.batch, np.array(rows, np.int64)[decoded.rows], failures))
    return _in_order(parts)


def _decode_one(version: Layout, schema_id: int, values: Sequence[bytes | None], ids: IdTable) -> Decoded:
    try:
        return Decoded(decode(version, schema_id, values), np.arange(len(values)), [])
    except Undecodable:
        return decode_around_faults(version, schema_id, values, ids)


def _decode_older(
    older: Layout, schema_id: int, layout: Layout, values: Sequence[bytes | None], ids: IdTable
) -> Decoded:
    try:
        decoded = _decode_one(_columnar(older), schema_id, values, ids)
        batch = resolved(decoded.batch, older.document, layout.document, arrow(layout))
    except NotColumnar:
        return _decode_singly(layout, values, ids)
    return Decoded(batch, decoded.rows, decoded.failures)


def _decode_leading_by_version(
    layout: Layout, values: Sequence[bytes | None], first_n_fields: int, ids: IdTable
) -> pa.RecordBatch:
    parts = []
    for schema_id, version, rows in _versions(layout, values, ids):
        some = [values[row] for row in rows]
        if version is layout:
            batch = decode_leading(layout, schema_id, some, first_n_fields)
        else:
            batch = _decode_leading_older(version, schema_id, layout, some, first_n_fields, ids)
        parts.append(Decoded(batch, np.array(rows, np.int64), []))
    return _in_order(parts).batch


def _decode_leading_older(
    older: Layout, schema_id: int, layout: Layout, values: Sequence[bytes | None], first_n_fields: int, ids: IdTable
) -> pa.RecordBatch:
    expected = pa.schema(list(arrow(layout))[:first_n_fields])
    try:
        needed = leading(older.document, layout.document, first_n_fields)
        batch = decode_leading(_columnar(older), schema_id, values, needed)
        return resolved(batch, older.document, layout.document, expected)
    except NotColumnar:
        decoded = _decode_singly(layout, values, ids)
        if decoded.failures:
            raise Undecodable(decoded.failures[0].reason) from None
        return decoded.batch.select(range(first_n_fields))


def _decode_singly(layout: Layout, values: Sequence[bytes | None], ids: IdTable) -> Decoded:
    records, rows, failures = [], [], []
    for row, value in enumerate(values):
        try:
            records.append(decode_record(layout.schema, value, ids=ids))
            rows.append(row)
        except BadRecord as bad:
            failures.append(Failure(row, bad.field, bad.reason))
    return Decoded(pa.RecordBatch.from_pylist(records, arrow(layout)), np.array(rows, np.int64), failures)


def _versions(
    layout: Layout, values: Sequence[bytes | None], ids: IdTable
) -> Iterator[tuple[int, Layout, Sequence[int]]]:
    """Yield the id and the version of the schema for the rows of each version that is there.

    The rows of no version are given to the present one.
    """
    older = {header_of(number): number for number in ids.earlier_of(layout.schema)}
    rows: dict[int | None, list[int]] = {}
    for row, value in enumerate(values) if older else ():
        rows.setdefault(older.get((value or b"")[:HEADER_BYTES]), []).append(row)
    if not older or None in rows or not rows:
        yield ids.id_of(layout.schema), layout, rows.pop(None, range(len(values)))
    for number, its in rows.items():
        if number is not None:
            yield number, ids.earlier[number], its


def _in_order(parts: Sequence[Decoded]) -> Decoded:
    """Return parts as one, their rows in the order they came in."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows)
    batch = pa.concat_batches([part.batch for part in parts]).take(pa.array(order))
    return Decoded(batch, rows[order], sorted(failure for part in parts for failure in part.failures))


def _columnar(older: Layout) -> Layout:
    if not is_columnar(older.document):
        raise NotColumnar("bytes or maps")
    return older


def _first_fault(schema: str, values: Sequence[bytes | None], ids: IdTable, text: str) -> BadRecord:
    failures = _decode_by_version(present(schema), values, ids).failures
    if not failures:
        return BadRecord("payload", text)
    row, field, reason = failures[0]
    return BadRecord(field, f"{reason} (row {row} of {len(values)})")


def _checked(schema: str) -> Layout:
    if not has_blocks(schema):
        raise TypeError(f"{schema} has bytes or map fields and no block form; use decode_record and encode_record")
    return present(schema)
