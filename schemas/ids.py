"""Schema ids on the wire: the committed table, or one filled from a schema registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

_ID_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class IdTable:
    """Which id a schema carries in the four bytes after the magic byte; ids are unique, 1 to 2**32 - 1."""

    ids: Mapping[str, int]

    def __post_init__(self) -> None:
        if len(set(self.ids.values())) != len(self.ids):
            raise ValueError("two schemas share a schema id")
        wrong = {name: number for name, number in self.ids.items() if not 1 <= number <= _ID_MAX}
        if wrong:
            raise ValueError(f"schema ids must lie between 1 and {_ID_MAX}: {wrong}")

    def id_of(self, schema: str) -> int:
        """Return the id of a schema; raises KeyError, naming the schemas there are."""
        try:
            return self.ids[schema]
        except KeyError:
            raise KeyError(f"no schema id for {schema!r}; the table has {', '.join(self.ids)}") from None

    def name_of(self, schema_id: int) -> str | None:
        """Return the schema with this id, None when no schema has it."""
        return next((name for name, number in self.ids.items() if number == schema_id), None)

    def replaced(self, ids: Mapping[str, int]) -> IdTable:
        """Return a table in which these ids, such as a registry's, stand in place of the committed ones."""
        return IdTable(MappingProxyType({**self.ids, **ids}))


def _committed() -> IdTable:
    text = files("rheostat.schemas").joinpath("ids.json").read_text("utf-8")
    return IdTable(MappingProxyType(json.loads(text)))


COMMITTED = _committed()
"""The table of `ids.json`. An id there is never changed or given to another schema."""
