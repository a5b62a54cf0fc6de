"""The Avro documents of this package, read once: one `.avsc` file per topic, plus `manifest` and `command`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, cast

Document = Mapping[str, Any]

_NOT_IN_BLOCKS = frozenset({"bytes", "fixed", "map"})


@cache
def names() -> tuple[str, ...]:
    """Return the names of all schemas, sorted."""
    found = (entry.name for entry in files("rheostat.schemas").iterdir())
    return tuple(sorted(name.removesuffix(".avsc") for name in found if name.endswith(".avsc")))


@cache
def document(name: str) -> Document:
    """Return the parsed Avro document; raises KeyError for an unknown name."""
    if name not in names():
        raise KeyError(f"no schema named {name!r}; there are {', '.join(names())}")
    return cast(Document, json.loads(files("rheostat.schemas").joinpath(f"{name}.avsc").read_text("utf-8")))


def field_names(name: str) -> tuple[str, ...]:
    """Return the top-level field names, in their order on the wire."""
    return tuple(field["name"] for field in document(name)["fields"])


def plain(avro: Any) -> Any:
    """Return an Avro type without logical types and documentation: what is left is what lies on the wire."""
    if isinstance(avro, list):
        return [plain(branch) for branch in avro]
    if not isinstance(avro, Mapping):
        return avro
    kept = {key: avro[key] for key in avro if key not in ("doc", "logicalType")}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = plain(kept[key])
    if "fields" in kept:
        kept["fields"] = [_plain_field(field) for field in kept["fields"]]
    return kept["type"] if set(kept) == {"type"} else kept


def _plain_field(field: Mapping[str, Any]) -> dict[str, Any]:
    default = {"default": field["default"]} if "default" in field else {}
    return {"name": field["name"], "type": plain(field["type"]), **default}


@cache
def has_blocks(name: str) -> bool:
    """Return whether records of this schema can be read and written in blocks (no bytes, maps or fixed)."""
    return is_columnar(document(name))


def is_columnar(avro: Document) -> bool:
    """Return whether records of a document can be read in blocks."""
    return not any(kind in _NOT_IN_BLOCKS for kind in _types(avro))


def _types(avro: Any) -> Iterator[str]:
    if isinstance(avro, str):
        yield avro
    elif isinstance(avro, list):
        for branch in avro:
            yield from _types(branch)
    else:
        yield from _types(avro["type"])
        for key in ("items", "values"):
            if key in avro:
                yield from _types(avro[key])
        for field in avro.get("fields", ()):
            yield from _types(field["type"])
