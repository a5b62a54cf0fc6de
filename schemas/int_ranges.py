"""Integers of Avro type `int` that do not fit 32 bits: Avro writes and reads them, the type does not allow them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from rheostat.schemas.documents import plain
from rheostat.schemas.layouts import Layout

INT_LIMIT = 2**31
_Find = Callable[[Any], int | None]


def oversized(layout: Layout, record: Any) -> tuple[str, int] | None:
    """Return the first field that holds such an integer, at any depth, with the integer; None if none does."""
    for name, find in _finders(layout):
        wrong = find(record[name]) if name in record else None
        if wrong is not None:
            return name, wrong
    return None


@cache
def _finders(layout: Layout) -> tuple[tuple[str, _Find], ...]:
    """Return a search for every top-level field that can hold an `int`."""
    found = ((field["name"], _finder(field["type"])) for field in plain(layout.document)["fields"])
    return tuple((name, find) for name, find in found if find is not None)


def _finder(avro: Any) -> _Find | None:
    if avro == "int":
        return _outside
    if isinstance(avro, list):
        return next((find for find in map(_finder, avro) if find is not None), None)
    if not isinstance(avro, dict) or avro["type"] in ("enum", "fixed"):
        return None
    if avro["type"] == "record":
        return _record_finder({field["name"]: _finder(field["type"]) for field in avro["fields"]})
    inner = _finder(avro["items"] if avro["type"] == "array" else avro["values"])
    return None if inner is None else _items_finder(inner)


def _outside(value: Any) -> int | None:
    return value if isinstance(value, int) and not -INT_LIMIT <= value < INT_LIMIT else None


def _record_finder(fields: dict[str, _Find | None]) -> _Find | None:
    inner = {name: find for name, find in fields.items() if find is not None}
    if not inner:
        return None
    return lambda record: _first(find(record[name]) for name, find in inner.items() if name in record)


def _items_finder(inner: _Find) -> _Find:
    return lambda items: _first(map(inner, items.values() if isinstance(items, dict) else items))


def _first(found: Any) -> int | None:
    return next((wrong for wrong in found if wrong is not None), None)
