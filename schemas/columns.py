"""Arrow columns made to fit a schema, or refused: nothing is rounded, parsed or filled in on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def fitted(schema: str, batch: pa.RecordBatch, expected: pa.Schema, symbols: Mapping[str, pa.Array]) -> list[pa.Array]:
    """Return the batch's columns in the order and with the types of `expected`.

    `symbols` has the allowed values of enum columns. Raises TypeError naming the schema and the column.
    """
    found = list(batch.schema.names)
    if sorted(found) != sorted(expected.names):
        raise TypeError(_names_fault(schema, found, expected.names))
    return [_fit(f"{schema}.{field.name}", batch.column(field.name), field, symbols) for field in expected]


def _names_fault(schema: str, found: list[str], expected: list[str]) -> str:
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    doubled = sorted({name for name in found if found.count(name) > 1})
    parts = (("missing", missing), ("not in the schema", unknown), ("twice", doubled))
    return f"{schema}: columns " + "; ".join(f"{what}: {', '.join(which)}" for what, which in parts if which)


def _fit(name: str, column: pa.Array, field: pa.Field, symbols: Mapping[str, pa.Array]) -> pa.Array:
    if column.type != field.type:
        column = _cast(name, column, field.type)
    if column.null_count and not field.nullable:
        raise TypeError(f"{name}: {column.null_count} nulls, but the field cannot be null")
    if _inner_nulls(column):
        raise TypeError(f"{name}: its items cannot be null")
    _check_symbols(name, column, symbols.get(field.name))
    return column


def _check_symbols(name: str, column: pa.Array, allowed: pa.Array | None) -> None:
    if allowed is None or not len(column):
        return
    if not pc.all(pc.is_in(column, value_set=allowed)).as_py():
        raise TypeError(f"{name}: has values other than {', '.join(allowed.to_pylist())}")


def _cast(name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
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
