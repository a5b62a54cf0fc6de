"""The generated parts of this package's README: topics, signal kinds, and every field of every schema.

    python -m rheostat.schemas.reference schemas/README.md

rewrites what stands between the markers `<!-- generated: NAME -->` and `<!-- end: NAME -->`; a test keeps it current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rheostat.schemas.catalogue import COMMAND, MANIFEST, TOPICS, topics_table
from rheostat.schemas.documents import document
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.signals import kinds_table

_EMBEDDED = {MANIFEST: "`models`", COMMAND: "`models.commands`"}


def fields_reference() -> str:
    """Return a section for every schema: what it is, its id, and a table of its fields."""
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
    rows = "".join(_row(field) for field in avro["fields"])
    return (
        f"### `{name}`\n\n{avro['doc']} Record `{avro['name']}`, schema id {COMMITTED.id_of(name)}, {place}.\n\n"
        f"| field | type | meaning |\n|---|---|---|\n{rows}"
    )


def _row(field: Mapping[str, Any]) -> str:
    default = f" Default: `{field['default']!r}`." if field.get("default") is not None else ""
    return f"| `{field['name']}` | {_type(field['type'])} | {field['doc']}{default} |\n"


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
        return f"{avro['name']} (" + ", ".join(f"{f['name']} {_type(f['type'])}" for f in avro["fields"]) + ")"
    return _type(avro["type"])


if __name__ == "__main__":
    main(sys.argv[1])
