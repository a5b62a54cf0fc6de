"""Schema ids on the wire: the committed table, or one filled from a schema registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType

from rheostat.schemas.layouts import Layout, history

_ID_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class IdTable:
    """Which id a schema carries in the four bytes after the magic byte; ids are unique, 1 to 2**32 - 1.

    earlier: the ids of older versions, whose records can still be read.
    """

    ids: Mapping[str, int]
    earlier: Mapping[int, Layout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({*self.ids.values(), *self.earlier}) != len(self.ids) + len(self.earlier):
            raise ValueError("two schemas, or two versions of one, share a schema id")
        named = {**self.ids, **{f"{older.schema} (older)": number for number, older in self.earlier.items()}}
        wrong = {name: number for name, number in named.items() if not 1 <= number <= _ID_MAX}
        if wrong:
            raise ValueError(f"schema ids must lie between 1 and {_ID_MAX}: {wrong}")

    def id_of(self, schema: str) -> int:
        """Return the id of a schema; raises KeyError, naming the schemas there are."""
        try:
            return self.ids[schema]
        except KeyError:
            raise KeyError(f"no schema id for {schema!r}; the table has {', '.join(self.ids)}") from None

    def name_of(self, schema_id: int) -> str | None:
        """Return the schema with this id, now or earlier, None when no schema has it."""
        if schema_id in self.earlier:
            return self.earlier[schema_id].schema
        return next((name for name, number in self.ids.items() if number == schema_id), None)

    def earlier_of(self, schema: str) -> dict[int, Layout]:
        """Return the older versions of a schema by their ids."""
        return {number: older for number, older in self.earlier.items() if older.schema == schema}

    def replaced(self, ids: Mapping[str, int], earlier: Mapping[int, Layout] | None = None) -> IdTable:
        """Return a table in which these ids, such as a registry's, stand in place of the committed ones.

        earlier: the older versions in place of those of the table; those by default.
        """
        older = self.earlier if earlier is None else earlier
        return IdTable(MappingProxyType({**self.ids, **ids}), MappingProxyType(dict(older)))


def _committed() -> IdTable:
    text = files("rheostat.schemas").joinpath("ids.json").read_text("utf-8")
    return IdTable(MappingProxyType(json.loads(text)), MappingProxyType(history()))


COMMITTED = _committed()
"""The table of `ids.json` and `history`. An id there is never changed or given to another schema."""

_of_process = COMMITTED


def in_force() -> IdTable:
    """Return the table that records are read and written by where none is given."""
    return _of_process


def put_in_force(table: IdTable) -> None:
    """Make a table that of the whole process. For the start of a program: records made before are not read after."""
    global _of_process
    _of_process = table
