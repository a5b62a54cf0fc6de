"""The generated parts of this package's README: topics, signal kinds, and every field of every schema.

    python -m rheostat.schemas.reference schemas/README.md

rewrites what stands between the markers `<!-- generated: NAME -->` and `<!-- end: NAME -->`; a test keeps it current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rheostat.schemas.catalogue import COMMAND, MANIFEST, TOPICS, topics_table
from rheostat.schemas.documents import document
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.signals import kinds_table

_EMBEDDED = {MANIFEST: "`models`", COMMAND: "`models.commands`"}


def fields_reference() -> str:
    """Return a section for every schema: what it is, its id, who writes it, and a table of its fields at any depth."""
    own = [name for name, topic in TOPICS.items() if not topic.carries]
    return "\n".join(_section(name) for name in (*own, *_EMBEDDED))


def renewed(text: str) -> str:
    """Return a README text with its generated parts as they are now; raises ValueError where a marker is missing."""
    parts = {"topics": topics_table(), "kinds": kinds_table(), "fields": fields_reference()}
    for name, part in parts.items():
        block = re.compile(f"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        if not block.search(text):
            raise ValueError(f"no markers for {name!r}")
        text = block.sub(lambda found, part=part: f"{found[1]}{part}{found[2]}", text)  # type: ignore[misc]
    return text


def main(path: str) -> None:
    """Rewrite the generated parts of a README file."""
    readme = Path(path)
    readme.write_text(renewed(readme.read_text("utf-8")), "utf-8")


def _section(name: str) -> str:
    avro = document(name)
    place = f"embedded in {_EMBEDDED[name]}, without header" if name in _EMBEDDED else "message value"
    topic = TOPICS[_EMBEDDED.get(name, name).strip("`")]
    rows = "".join(_rows(avro, ""))
    writers = ", ".join(topic.writers)
    return (
        f"### `{name}`\n\n{avro['doc']} "
        f"Record `{avro['name']}`, schema id {COMMITTED.id_of(name)}, {place}; written by {writers}.\n\n"
        f"| field | type | unit | meaning | may change |\n|---|---|---|---|---|\n{rows}"
    )


def _rows(record: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a row for every field of a record, and of the records in it: `cells[].count`."""
    for field in record["fields"]:
        name, kind = f"{path}{field['name']}", field["type"]
        default = f" Default: `{field['default']!r}`." if field.get("default") is not None else ""
        yield f"| `{name}` | {_type(kind)} | {_unit(field)} | {field['doc']}{default} | {_change(kind)} |\n"
        for each, suffix in _inner_records(kind):
            yield from _rows(each, f"{name}{suffix}.")


def _unit(field: Mapping[str, Any]) -> str:
    times = (branch for branch in _branches(field["type"]) if isinstance(branch, Mapping))
    if any(branch.get("logicalType") == "timestamp-millis" for branch in times):
        return "ms since 1970, UTC"
    return str(field.get("unit", ""))


def _change(avro: Any) -> str:
    """Return what may become of a field later, by its type: the rules of "How schemas change"."""
    if any(True for _ in _inner_records(avro)):
        return "more fields"
    kinds = {branch["type"] for branch in _branches(avro) if isinstance(branch, Mapping)}
    return "more symbols" if "enum" in kinds else "more keys" if "map" in kinds else "no"


def _inner_records(avro: Any) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the records in a type, with what stands for the way to them: `[]` in an array, `{}` in a map."""
    for branch in _branches(avro):
        if isinstance(branch, Mapping):
            inner, suffix = {"array": (branch.get("items"), "[]"), "map": (branch.get("values"), "{}")}.get(
                branch["type"], (branch, "")
            )
            if isinstance(inner, Mapping) and inner["type"] == "record":
                yield inner, suffix


def _branches(avro: Any) -> list[Any]:
    return avro if isinstance(avro, list) else [avro]


def _type(avro: Any) -> str:
    if isinstance(avro, list):
        return " or ".join(_type(branch) for branch in reversed(avro))
    if isinstance(avro, str):
        return avro
    if avro.get("logicalType") == "timestamp-millis":
        return "timestamp, ms"
    if avro["type"] == "enum":
        return "one of " + ", ".join(f"`{symbol}`" for symbol in avro["symbols"])
    if avro["type"] in ("array", "map"):
        return f"{avro['type']} of {_type(avro.get('items', avro.get('values')))}"
    if avro["type"] == "record":
        return str(avro["name"])
    return _type(avro["type"])


if __name__ == "__main__":
    main(sys.argv[1])
