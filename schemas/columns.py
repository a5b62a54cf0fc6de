"""Arrow columns made to fit a schema, or refused: nothing is rounded, parsed or filled in on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

_Test = Callable[[pa.DataType], bool]

# Which types may stand for which: (wanted, found). A cast among them keeps the meaning or fails.
_AKIN: tuple[tuple[_Test, tuple[_Test, ...]], ...] = (
    (is_.is_string, (is_.is_string, is_.is_large_string, is_.is_string_view)),
    (is_.is_floating, (is_.is_floating, is_.is_integer)),
    (is_.is_timestamp, (is_.is_timestamp, is_.is_int64)),
    (is_.is_integer, (is_.is_integer,)),
    (is_.is_boolean, (is_.is_boolean,)),
)


class _Wanted(NamedTuple):
    """What one column must be; `symbols` has the allowed values of an enum."""

    name: str
    type: pa.DataType
    nullable: bool
    nested: bool
    symbols: pa.Array | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a batch must be, worked out once for a schema: asking Arrow's own for it costs more than small batches."""

    schema: pa.Schema
    columns: tuple[_Wanted, ...]


def shape(expected: pa.Schema, symbols: Mapping[str, pa.Array]) -> Shape:
    """Return the shape of batches of an Arrow schema; `symbols` has the allowed values of enum columns."""
    columns = (
        _Wanted(each.name, each.type, each.nullable, is_.is_nested(each.type), symbols.get(each.name))
        for each in expected
    )
    return Shape(expected, tuple(columns))


def fitted(schema: str, batch: pa.RecordBatch, wanted: Shape) -> list[pa.Array]:
    """Return the batch's columns in the order and with the types that are wanted.

    Raises TypeError naming the schema and the column.
    """
    columns = batch.columns
    if not batch.schema.equals(wanted.schema):
        columns = _arranged(schema, batch, wanted)
    for column, each in zip(columns, wanted.columns, strict=True):
        _check(schema, column, each)
    return list(columns)


def _arranged(schema: str, batch: pa.RecordBatch, wanted: Shape) -> list[pa.Array]:
    found = list(batch.schema.names)
    if sorted(found) != sorted(wanted.schema.names):
        raise TypeError(_names_fault(schema, found, wanted.schema.names))
    return [_cast(f"{schema}.{each.name}", batch.column(each.name), each.type) for each in wanted.columns]


def _names_fault(schema: str, found: list[str], expected: list[str]) -> str:
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    doubled = sorted({name for name in found if found.count(name) > 1})
    parts = (("missing", missing), ("not in the schema", unknown), ("twice", doubled))
    return f"{schema}: columns " + "; ".join(f"{what}: {', '.join(which)}" for what, which in parts if which)


def _check(schema: str, column: pa.Array, wanted: _Wanted) -> None:
    if not wanted.nullable and column.null_count:
        raise TypeError(f"{schema}.{wanted.name}: {column.null_count} nulls, but the field cannot be null")
    if wanted.nested and _inner_nulls(column):
        raise TypeError(f"{schema}.{wanted.name}: its items cannot be null")
    if wanted.symbols is not None and len(column) and not pc.all(pc.is_in(column, value_set=wanted.symbols)).as_py():
        raise TypeError(f"{schema}.{wanted.name}: has values other than {', '.join(wanted.symbols.to_pylist())}")


def _cast(name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    if not is_.is_null(column.type) and not _akin(column.type, wanted):
        raise TypeError(f"{name}: {column.type} where {wanted} is needed")
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TypeError(f"{name}: {column.type} does not fit {wanted}: {error}") from error


def _akin(found: pa.DataType, wanted: pa.DataType) -> bool:
    if is_.is_dictionary(found):
        return _akin(found.value_type, wanted)
    if is_.is_list(wanted):
        listed = is_.is_list(found) or is_.is_large_list(found)
        return bool(listed and (found.value_type == wanted.value_type or _akin(found.value_type, wanted.value_type)))
    return any(want(wanted) and any(have(found) for have in haves) for want, haves in _AKIN)


def _inner_nulls(column: pa.Array) -> bool:
    """Whether anything inside lists and records is null, which no schema with a block form allows."""
    if is_.is_list(column.type):
        items = column.flatten()
        return bool(items.null_count) or _inner_nulls(items)
    if is_.is_struct(column.type):
        return any(inner.null_count or _inner_nulls(inner) for inner in column.flatten())
    return False
