"""Versions of a schema: the present one, and those that older records were written under."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from rheostat.schemas.documents import Document, document

_HISTORY, _SUFFIX = "history", ".avsc"


@dataclass(frozen=True, eq=False)
class Layout:
    """One version of a schema, which says how the bytes of its records are to be read. Equal only to itself."""

    schema: str
    document: Document


@cache
def present(schema: str) -> Layout:
    """Return the version of a schema that records are written under; raises KeyError for an unknown name."""
    return Layout(schema, document(schema))


def history(folder: Traversable | None = None) -> dict[int, Layout]:
    """Return the older versions that are kept in a folder, this package's own by default, by their ids.

    A file is called SCHEMA.ID.avsc; raises ValueError for one that is not.
    """
    folder = folder or files("rheostat.schemas").joinpath(_HISTORY)
    found: dict[int, Layout] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name.endswith(_SUFFIX):
            schema, _, number = entry.name.removesuffix(_SUFFIX).rpartition(".")
            if not schema or not number.isdecimal():
                raise ValueError(f"schemas/{_HISTORY}/{entry.name}: must be called SCHEMA.ID{_SUFFIX}")
            if int(number) in found:
                raise ValueError(f"schemas/{_HISTORY}: {schema} and {found[int(number)].schema} share the id {number}")
            found[int(number)] = Layout(schema, json.loads(entry.read_text("utf-8")))
    return found


def history_file(schema: str, schema_id: int) -> str:
    """Return the path in which an older version of a schema is kept, from the root of the project."""
    return f"schemas/{_HISTORY}/{schema}.{schema_id}{_SUFFIX}"
