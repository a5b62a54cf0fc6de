"""Whether what releases have written can still be read by its id: released versions are kept, and ids never reused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rheostat.schemas.catalogue import COMMAND, MANIFEST
from rheostat.schemas.compatibility import Finding
from rheostat.schemas.documents import Document, plain
from rheostat.schemas.ids import IdTable
from rheostat.schemas.layouts import history_file


class Release(NamedTuple):
    """The schemas of a release by their names, and the ids that their records were written under."""

    label: str
    ids: Mapping[str, int]
    documents: Mapping[str, Document]


def not_kept(new: Mapping[str, Document], ids: IdTable, releases: Sequence[Release]) -> list[Finding]:
    """Return the released schemas whose records can no longer be told by their id; each with what is to be done.

    new, ids: the present schemas, and the table of their ids and of older versions'. What several releases share is
    named once, with the first of them.
    """
    found: dict[tuple[str, int], Finding] = {}
    for label, released_ids, documents in releases:
        for schema, number in released_ids.items():
            reason = _fault(schema, number, documents[schema], new, ids) if schema in documents else None
            if reason is not None:
                found.setdefault((schema, number), Finding(schema, label, "", reason))
    return list(found.values())


def _fault(schema: str, number: int, released: Document, new: Mapping[str, Document], ids: IdTable) -> str | None:
    """Return what is wrong with the version that a schema id was released with; None if nothing is."""
    now = ids.name_of(number)
    if now is not None and now != schema:
        return f"id {number} was released as that of {schema} and is that of {now} now; ids are never given again"
    kept = ids.earlier[number].document if number in ids.earlier else new.get(schema) if now == schema else None
    if kept is not None and _on_the_wire(kept) == _on_the_wire(released):
        return None
    if schema in (MANIFEST, COMMAND):
        return "lies in other records without its id, so it can never change; what is new needs a name of its own"
    keep = f"keep the released file as {history_file(schema, number)}"
    if number in ids.earlier:
        return f"{history_file(schema, number)} is not what was released with id {number}; restore it"
    if now is None:
        return f"id {number} was released and is in neither ids.json nor history; {keep}"
    return f"was released with id {number} and has changed; {keep} and give {schema} an id in ids.json that is free"


def _on_the_wire(avro: Any) -> Any:
    """Return what of a type decides how its bytes are read under it."""
    if isinstance(avro, list):
        return [_on_the_wire(branch) for branch in avro]
    if not isinstance(avro, Mapping):
        return avro
    return {key: _on_the_wire(value) for key, value in _kept(plain(avro))}


def _kept(avro: Any) -> Iterator[tuple[str, Any]]:
    wanted = ("type", "name", "namespace", "fields", "items", "values", "symbols", "size")
    return ((key, avro[key]) for key in wanted if key in avro)
