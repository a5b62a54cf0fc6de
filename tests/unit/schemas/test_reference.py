"""The README of the schemas is current and its example works."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from rheostat.schemas.catalogue import FEEDBACK_EXPLICIT, topics_table
from rheostat.schemas.codec import decode_record
from rheostat.schemas.documents import document, names
from rheostat.schemas.reference import fields_reference, renewed

NUMBERS = ("int", "long", "float", "double")
README = files("rheostat.schemas").joinpath("README.md").read_text("utf-8")


def test_the_generated_parts_are_current() -> None:
    assert renewed(README) == README, "run: python -m rheostat.schemas.reference schemas/README.md"
    assert topics_table() in README


def all_fields(avro: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field in a type, at any depth, by its name."""
    if isinstance(avro, list):
        for branch in avro:
            yield from all_fields(branch)
    elif isinstance(avro, Mapping):
        for field in avro.get("fields", ()):
            yield field["name"], field
            yield from all_fields(field["type"])
        yield from all_fields(avro.get("items"))
        yield from all_fields(avro.get("values"))


def is_number(avro: Any) -> bool:
    """Whether values of a type are numbers, optional ones and lists and maps of them too, but no times."""
    if isinstance(avro, list):
        return any(map(is_number, avro))
    if isinstance(avro, Mapping):
        inner = {"array": avro.get("items"), "map": avro.get("values")}.get(avro["type"])
        return is_number(inner) or (avro["type"] in NUMBERS and "logicalType" not in avro)
    return avro in NUMBERS


@pytest.mark.parametrize("schema", names())
def test_every_field_has_a_meaning_and_every_number_a_unit(schema: str) -> None:
    found = list(all_fields(document(schema)))
    assert found
    assert [name for name, field in found if not re.fullmatch(r"\S.*\.", field.get("doc", ""))] == []
    assert [name for name, field in found if is_number(field["type"]) != ("unit" in field)] == []


@pytest.mark.parametrize("schema", names())
def test_every_field_has_its_row(schema: str) -> None:
    section = fields_reference().split(f"### `{schema}`\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert [row.rpartition(".")[2] for row in rows] == [name for name, _ in all_fields(document(schema))]
    assert len(rows) == len(set(rows))
    assert re.search(r"written by [a-z, ]+\.\n", section)


def test_the_example_writes_a_record(tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert match is not None
    example = tmp_path / "example.py"
    example.write_text(match[1])
    scope = runpy.run_path(str(example))
    assert decode_record(FEEDBACK_EXPLICIT, scope["value"])["value"] == 4.0
