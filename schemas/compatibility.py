"""Whether a new schema can read what an old one wrote: Avro's rules of schema resolution.

The rules are those of "Schema Resolution" in the Avro 1.11 specification, read as Confluent's registries do for
BACKWARD: whatever the writer may have written must be readable, so every branch of a writer's union must be. Logical
types are no part of the bytes and are not compared. Names of records, enums and fixed are compared without their
namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_PROMOTIONS: Mapping[str, tuple[str, ...]] = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
_NAMED = ("record", "enum", "fixed")


class Incompatibility(NamedTuple):
    """What the new schema cannot read: a field's path, such as `cells[].count`, empty for the record, and why."""

    field: str
    reason: str


class Finding(NamedTuple):
    """An incompatibility with one of several old versions."""

    schema: str
    version: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.schema}: {self.field or 'the record'}: {self.reason} (written by {self.version})"


class Version(NamedTuple):
    """An old schema and what it is called: a commit, a folder, a registry's version number."""

    label: str
    document: Any


def not_backward_transitive(new: Mapping[str, Any], old: Mapping[str, Sequence[Version]]) -> list[Finding]:
    """Return what the new schemas cannot read of what any old version of them wrote.

    A schema that is gone can read nothing; one without an old version has nothing to read. A finding that several
    versions share is named once, with the first of them.
    """
    found: dict[tuple[str, str, str], Finding] = {}
    for schema, versions in old.items():
        for label, document in versions:
            gone = [Incompatibility("", "the schema is gone")]
            for field, reason in incompatibilities(new[schema], document) if schema in new else gone:
                found.setdefault((schema, field, reason), Finding(schema, label, field, reason))
    return list(found.values())


def incompatibilities(reader: Any, writer: Any) -> list[Incompatibility]:
    """Return everything in the writer's schema that the reader's cannot read; empty where it can read all of it."""
    return list(
        dict.fromkeys(_Comparison(_named_types(reader), _named_types(writer), set()).faults(reader, writer, ""))
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two documents: their named types, and the pairs of them that are being compared (types may hold themselves)."""

    readers: Mapping[str, Any]
    writers: Mapping[str, Any]
    begun: set[tuple[str, str]]

    def faults(self, reader: Any, writer: Any, path: str) -> Iterator[Incompatibility]:
        reader, writer = _resolved(reader, self.readers), _resolved(writer, self.writers)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.faults(reader, branch, path)
        elif isinstance(reader, list):
            yield from self._in_union(reader, writer, path)
        else:
            yield from self._same_kind(reader, writer, path)

    def _in_union(self, branches: list[Any], writer: Any, path: str) -> Iterator[Incompatibility]:
        """A value goes to the first branch of the reader that fits it."""
        tried = [self._tried(branch, writer, path) for branch in branches]
        if all(tried):
            same = [faults for branch, faults in zip(branches, tried, strict=True) if self._alike(branch, writer)]
            names = " or ".join(_name(_resolved(branch, self.readers)) for branch in branches)
            yield from same[0] if same else [Incompatibility(path, f"was {_name(writer)}, is {names}")]

    def _tried(self, branch: Any, writer: Any, path: str) -> list[Incompatibility]:
        # With a set of its own: what was begun in a branch that does not fit was not compared to its end.
        return list(_Comparison(self.readers, self.writers, set(self.begun)).faults(branch, writer, path))

    def _alike(self, branch: Any, writer: Any) -> bool:
        return _name(_resolved(branch, self.readers)) == _name(writer)

    def _same_kind(self, reader: Any, writer: Any, path: str) -> Iterator[Incompatibility]:
        kind = _kind(reader)
        if kind != _kind(writer):
            if kind not in _PROMOTIONS.get(_kind(writer), ()):
                yield Incompatibility(path, f"was {_name(writer)}, is {_name(reader)}")
        elif kind in _NAMED and not _names_match(reader, writer):
            yield Incompatibility(path, f"was called {writer['name']}, is called {reader['name']}")
        elif kind == "record":
            yield from self._records(reader, writer, path)
        elif kind == "enum":
            yield from _enums(reader, writer, path)
        elif kind == "array":
            yield from self.faults(reader["items"], writer["items"], f"{path}[]")
        elif kind == "map":
            yield from self.faults(reader["values"], writer["values"], f"{path}{{}}")
        elif kind == "fixed" and reader["size"] != writer["size"]:
            yield Incompatibility(path, f"was {writer['size']} bytes long, is {reader['size']}")

    def _records(self, reader: Any, writer: Any, path: str) -> Iterator[Incompatibility]:
        pair = (reader["name"], writer["name"])
        if pair in self.begun:
            return
        self.begun.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            at = f"{path}.{field['name']}".removeprefix(".")
            name = next((each for each in (field["name"], *field.get("aliases", ())) if each in written), None)
            if name is not None:
                yield from self.faults(field["type"], written[name]["type"], at)
            elif "default" not in field:
                yield Incompatibility(at, "was not there, and has no default now")


def _enums(reader: Any, writer: Any, path: str) -> Iterator[Incompatibility]:
    lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if lost and "default" not in reader:
        yield Incompatibility(path, f"had {', '.join(lost)}, which is no symbol any more, and there is no default")


def _names_match(reader: Any, writer: Any) -> bool:
    names = (reader["name"], *reader.get("aliases", ()))
    return _short(writer["name"]) in map(_short, names)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _kind(avro: Any) -> str:
    """Return the kind of a type: its own name for a primitive."""
    while isinstance(avro, Mapping):
        avro = avro["type"]
    return str(avro)


def _name(avro: Any) -> str:
    """Return what to call a type in a message."""
    return f"{_kind(avro)} {avro['name']}" if _kind(avro) in _NAMED else _kind(avro)


def _resolved(avro: Any, named: Mapping[str, Any]) -> Any:
    """Return a type itself in place of its name, and of a wrapping `{"type": ...}`."""
    while isinstance(avro, Mapping) and isinstance(avro["type"], Mapping | list):
        avro = avro["type"]
    return named.get(_short(avro), avro) if isinstance(avro, str) else avro


def _named_types(avro: Any) -> dict[str, Any]:
    """Return every record, enum and fixed in a document by its name."""
    if isinstance(avro, list):
        return {name: each for branch in avro for name, each in _named_types(branch).items()}
    if not isinstance(avro, Mapping):
        return {}
    inner = [avro.get("items"), avro.get("values"), *(field["type"] for field in avro.get("fields", ()))]
    if isinstance(avro["type"], Mapping | list):
        inner.append(avro["type"])
    found = {name: each for part in inner for name, each in _named_types(part).items()}
    return {**found, _short(avro["name"]): avro} if avro["type"] in _NAMED else found
