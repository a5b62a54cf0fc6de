"""Backward compatibility: the rules of Avro's schema resolution, one by one and beside a library that resolves."""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas.compatibility import Incompatibility, Version, incompatibilities, not_backward_transitive
from rheostat.schemas.documents import document, names


def record(*fields: Any, name: str = "R") -> dict[str, Any]:
    """A record; a field is a (name, type) or (name, type, default)."""
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": each[0], "type": each[1], **({"default": each[2]} if len(each) > 2 else {})} for each in fields
        ],
    }


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    """An enum."""
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


TIME = {"type": "long", "logicalType": "timestamp-millis"}
TREE = record(("value", "int"), ("children", {"type": "array", "items": "R"}, []))
TREE_LONG = record(("value", "long"), ("children", {"type": "array", "items": "R"}, []))

READABLE = {
    "the same": (record(("a", "int")), record(("a", "int"))),
    "a new field with a default": (record(("a", "int"), ("b", ["null", "int"], None)), record(("a", "int"))),
    "a field removed": (record(("a", "int")), record(("a", "int"), ("b", "string"))),
    "fields moved": (record(("b", "int"), ("a", "int")), record(("a", "int"), ("b", "int"))),
    "int to long": (record(("a", "long")), record(("a", "int"))),
    "long to double": (record(("a", "double")), record(("a", "long"))),
    "float to double": (record(("a", "double")), record(("a", "float"))),
    "string to bytes": (record(("a", "bytes")), record(("a", "string"))),
    "bytes to string": (record(("a", "string")), record(("a", "bytes"))),
    "made optional": (record(("a", ["null", "int"])), record(("a", "int"))),
    "an optional field widened": (record(("a", ["null", "long"])), record(("a", ["null", "int"]))),
    "a branch added": (record(("a", ["null", "int", "string"])), record(("a", ["null", "int"]))),
    "branches moved": (record(("a", ["int", "null"])), record(("a", ["null", "int"]))),
    "a union of one": (record(("a", "int")), record(("a", ["int"]))),
    "a symbol added": (record(("a", enum("x", "y"))), record(("a", enum("x")))),
    "a symbol removed with a default": (record(("a", enum("x", default="x"))), record(("a", enum("x", "y")))),
    "a logical type named": (record(("a", TIME)), record(("a", "long"))),
    "array items widened": (
        record(("a", {"type": "array", "items": "long"})),
        record(("a", {"type": "array", "items": "int"})),
    ),
    "map values widened": (
        record(("a", {"type": "map", "values": "long"})),
        record(("a", {"type": "map", "values": "int"})),
    ),
    "a type that holds itself": (TREE_LONG, TREE),
    "a wrapped primitive": (record(("a", {"type": "int"})), record(("a", "int"))),
}

UNREADABLE = {
    "a new field without a default": (record(("a", "int"), ("b", "int")), record(("a", "int")), "b"),
    "a field renamed": (record(("b", "int")), record(("a", "int")), "b"),
    "long to int": (record(("a", "int")), record(("a", "long")), "a"),
    "double to long": (record(("a", "long")), record(("a", "double")), "a"),
    "int to string": (record(("a", "string")), record(("a", "int")), "a"),
    "no longer optional": (record(("a", "int")), record(("a", ["null", "int"])), "a"),
    "a branch removed": (record(("a", ["null", "int"])), record(("a", ["null", "int", "string"])), "a"),
    "a branch narrowed": (record(("a", ["null", "int"])), record(("a", ["null", "long"])), "a"),
    "a symbol removed": (record(("a", enum("x"))), record(("a", enum("x", "y"))), "a"),
    "an enum to a string": (record(("a", "string")), record(("a", enum("x"))), "a"),
    "array items narrowed": (
        record(("a", {"type": "array", "items": "int"})),
        record(("a", {"type": "array", "items": "long"})),
        "a[]",
    ),
    "map values narrowed": (
        record(("a", {"type": "map", "values": "int"})),
        record(("a", {"type": "map", "values": "long"})),
        "a{}",
    ),
    "an array to a map": (
        record(("a", {"type": "map", "values": "int"})),
        record(("a", {"type": "array", "items": "int"})),
        "a",
    ),
    "fixed of another size": (
        record(("a", {"type": "fixed", "name": "F", "size": 4})),
        record(("a", {"type": "fixed", "name": "F", "size": 8})),
        "a",
    ),
    "a field of a nested record": (
        record(("a", record(("b", "int"), name="Inner"))),
        record(("a", record(("b", "string"), name="Inner"))),
        "a.b",
    ),
    "a field of records in an optional array": (
        record(("a", ["null", {"type": "array", "items": record(("b", "int"), ("c", "int"), name="Inner")}])),
        record(("a", ["null", {"type": "array", "items": record(("b", "int"), name="Inner")}])),
        "a[].c",
    ),
    "another record name": (record(("a", "int"), name="S"), record(("a", "int")), ""),
    "a type that holds itself": (TREE, TREE_LONG, "value"),
}


def resolves(reader: Any, writer: Any, count: int = 25) -> bool:
    """Whether a library reads random records of the writer's schema with the reader's."""
    parsed_writer, parsed_reader = (
        fastavro.parse_schema(copy.deepcopy(writer)),
        fastavro.parse_schema(copy.deepcopy(reader)),
    )
    for value in generate_many(parsed_writer, count):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed_writer, value)
        body.seek(0)
        try:
            fastavro.schemaless_reader(body, parsed_writer, parsed_reader)
        except UnicodeDecodeError:
            continue  # bytes that are no text: a fault of the value, not of the schema
        except Exception:
            return False
    return True


@pytest.mark.parametrize("case", READABLE)
def test_what_may_change(case: str) -> None:
    reader, writer = READABLE[case]
    assert incompatibilities(reader, writer) == []
    assert "holds itself" in case or resolves(reader, writer)


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_may_not_change_is_named(case: str) -> None:
    reader, writer, field = UNREADABLE[case]
    assert [each.field for each in incompatibilities(reader, writer)] == [field]
    if case not in ("another record name", "a type that holds itself", "an enum to a string"):
        assert not resolves(reader, writer)


def test_a_field_may_be_renamed_with_an_alias() -> None:
    renamed = record(("b", "int"))
    renamed["fields"][0]["aliases"] = ["a"]
    assert incompatibilities(renamed, record(("a", "int"))) == []


def test_all_faults_are_reported() -> None:
    new = record(("a", "string"), ("b", "int"), ("c", enum("x")))
    old = record(("a", "int"), ("c", enum("x", "y", "z")))
    assert incompatibilities(new, old) == [
        Incompatibility("a", "was int, is string"),
        Incompatibility("b", "was not there, and has no default now"),
        Incompatibility("c", "had y, z, which is no symbol any more, and there is no default"),
    ]


primitives = st.sampled_from(["int", "long", "float", "double", "string", "bytes", "boolean"])
types = st.recursive(
    primitives | st.sampled_from([enum("x"), enum("x", "y"), enum("x", "y", "z")]),
    lambda inner: (
        st.builds(lambda each: ["null", each], inner.filter(lambda each: not isinstance(each, list)))
        | st.builds(lambda each: {"type": "array", "items": each}, inner)
        | st.builds(lambda each: {"type": "map", "values": each}, inner)
    ),
    max_leaves=3,
)
records = st.lists(st.tuples(st.sampled_from("abc"), types), max_size=3, unique_by=lambda each: each[0])


def usable(schema: Any) -> bool:
    """Whether it is a schema at all: the enum may be defined only once in it."""
    return str(schema).count("'enum'") <= 1


@settings(max_examples=300)
@given(records, records)
def test_what_is_called_compatible_a_library_reads(new: list[Any], old: list[Any]) -> None:
    reader, writer = record(*new), record(*old)
    if usable(reader) and usable(writer) and not incompatibilities(reader, writer):
        random.seed(0)
        assert resolves(reader, writer, 8)


@given(records)
def test_every_schema_reads_itself_and_reads_on_with_an_optional_field_more(fields: list[Any]) -> None:
    assert incompatibilities(record(*fields), record(*fields)) == []
    more = record(*fields, ("new", ["null", "int"], None))
    assert incompatibilities(more, record(*fields)) == []
    assert [each.field for each in incompatibilities(record(*fields, ("new", "int")), record(*fields))] == ["new"]


@pytest.mark.parametrize("schema", names())
def test_every_committed_schema_allows_a_field_more_and_no_other_type(schema: str) -> None:
    old = document(schema)
    new = copy.deepcopy(dict(old))
    new["fields"].append({"name": "novelty", "type": ["null", "string"], "default": None})
    assert incompatibilities(new, old) == []
    assert incompatibilities(old, old) == []
    new["fields"][0]["type"] = {"type": "map", "values": "int"}
    assert [each.field for each in incompatibilities(new, old)] == [old["fields"][0]["name"]]


def test_transitive_means_every_version_and_says_which() -> None:
    first, second, third = record(("a", "int")), record(("a", "long")), record(("a", "double"), ("b", "int", 0))
    old = {"clicks": [Version("v1", first), Version("v2", second)]}
    assert not_backward_transitive({"clicks": third, "new": first}, old) == []
    (found,) = not_backward_transitive({"clicks": first}, old)
    assert str(found) == "clicks: a: was long, is int (written by v2)"


def test_a_schema_that_is_gone_is_found_once() -> None:
    old = {"clicks": [Version("v1", record(("a", "int"))), Version("v2", record(("a", "long")))]}
    (found,) = not_backward_transitive({}, old)
    assert str(found) == "clicks: the record: the schema is gone (written by v1)"
