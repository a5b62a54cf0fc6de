"""Records of older versions say what Avro's own resolution makes of them, one by one and in blocks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import block_codec
from rheostat.schemas.codec import (
    BadRecord,
    arrow_schema,
    decode_block,
    decode_fields,
    decode_own,
    decode_record,
    encode_block,
    encode_record,
)
from rheostat.schemas.compatibility import incompatibilities
from rheostat.schemas.documents import document, field_names, has_blocks, names
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.layouts import Layout, history
from tests.unit.schemas.older import as_resolved, mixtures, older_versions, table_with, value_of
from tests.unit.schemas.strategies import FEW, damaged, records_of
from tests.unit.schemas.test_block_codec import rows_of
from tests.unit.schemas.test_record_codec import EVENT, EXPLICIT

FEWER = settings(FEW, max_examples=8)
BLOCKS = [name for name in names() if has_blocks(name)]


def before(**changes: Any) -> Layout:
    """Explicit feedback before some changes: each field's type then, None for one that was not there."""
    avro = copy.deepcopy(dict(document(EXPLICIT)))
    avro["fields"] = [
        {"name": field["name"], "type": changes[field["name"]]} if field["name"] in changes else field
        for field in avro["fields"]
        if changes.get(field["name"], field) is not None
    ]
    return Layout(EXPLICIT, avro)


@pytest.mark.parametrize("schema", names())
@FEWER
@given(data=st.data())
def test_what_is_drawn_is_an_older_version(schema: str, data: st.DataObject) -> None:
    assert incompatibilities(document(schema), data.draw(older_versions(schema)).document) == []


@pytest.mark.parametrize("schema", names())
@FEWER
@given(data=st.data())
def test_a_record_of_any_version_is_resolved_as_avro_does(schema: str, data: st.DataObject) -> None:
    ids, values, present = data.draw(mixtures(schema, size=3))
    assert [encode_record(schema, decode_record(schema, value, ids=ids)) for value in values] == present


@pytest.mark.parametrize("schema", BLOCKS)
@FEWER
@given(data=st.data())
def test_a_block_of_mixed_versions_is_resolved_as_avro_does_and_keeps_its_order(
    schema: str, data: st.DataObject
) -> None:
    ids, values, present = data.draw(mixtures(schema))
    decoded = decode_block(schema, values, ids=ids)
    assert (decoded.failures, decoded.rows.tolist()) == ([], list(range(len(values))))
    assert decoded.batch.schema == arrow_schema(schema)
    assert encode_block(schema, decoded.batch) == present
    assert encode_block(schema, decode_own(schema, values, ids=ids)) == present


@pytest.mark.parametrize("schema", BLOCKS)
@FEWER
@given(data=st.data())
def test_the_first_fields_of_mixed_versions(schema: str, data: st.DataObject) -> None:
    ids, values, _ = data.draw(mixtures(schema))
    count = data.draw(st.integers(1, len(field_names(schema))))
    found = decode_fields(schema, values, count, ids=ids)
    expected = decode_block(schema, values, ids=ids).batch.select(range(count))
    assert repr(rows_of(found)) == repr(rows_of(expected))
    assert found.schema == expected.schema


@pytest.mark.parametrize("schema", BLOCKS)
@FEWER
@given(data=st.data())
def test_bad_values_among_mixed_versions_are_those_a_single_record_decoder_refuses(
    schema: str, data: st.DataObject
) -> None:
    ids, values, _ = data.draw(mixtures(schema))
    values = [value if data.draw(st.booleans()) else data.draw(damaged(value)) for value in values]
    refused, kept = {}, []
    for row, value in enumerate(values):
        try:
            kept.append(encode_record(schema, decode_record(schema, value, ids=ids)))
        except BadRecord as bad:
            refused[row] = (bad.field, bad.reason)
    decoded = decode_block(schema, values, ids=ids)
    assert {failure.row: (failure.field, failure.reason) for failure in decoded.failures} == refused
    assert decoded.rows.tolist() == [row for row in range(len(values)) if row not in refused]
    assert encode_block(schema, decoded.batch) == kept


@pytest.mark.parametrize(
    "older",
    [
        before(text=None, certainty=None, retracts=None),
        before(value="float", occurred_at="int", certainty=["null", "float"]),
        before(value="long", text="string", consent="boolean"),
        before(target_id=None, source="string"),
    ],
    ids=["fields with a default", "narrower numbers", "what can be null now", "a field in the middle"],
)
def test_a_block_of_an_older_version_is_not_read_record_by_record(
    older: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [{**EVENT, "event_id": f"e-{at}", "occurred_at": at, "value": at, "text": "t"} for at in range(50)]
    known = {field["name"] for field in older.document["fields"]}
    values = [
        value_of(older, 900, {name: value for name, value in record.items() if name in known}) for record in written
    ]
    expected = [as_resolved(older, value) for value in values]
    monkeypatch.delattr(block_codec, "decode_record")
    ids = table_with(older)
    assert encode_block(EXPLICIT, decode_block(EXPLICIT, values, ids=ids).batch) == expected
    assert decode_fields(EXPLICIT, values, 1, ids=ids).column("event_id").to_pylist() == [f"e-{i}" for i in range(50)]


def test_an_unknown_id_is_one_failure_that_says_so_among_known_ones() -> None:
    older = before(text=None)
    known = {name: value for name, value in EVENT.items() if name != "text"}
    values = [value_of(older, number, known) for number in (900, 901, 900)]
    decoded = decode_block(EXPLICIT, [*values, encode_record(EXPLICIT, EVENT)], ids=table_with(older))
    (failure,) = decoded.failures
    assert (failure.row, failure.field, decoded.rows.tolist()) == (1, "payload", [0, 2, 3])
    assert failure.reason.startswith(f"schema id 901 is not known; {EXPLICIT} has {COMMITTED.id_of(EXPLICIT)}; ")
    with pytest.raises(BadRecord, match=r"schema id 901 is not known.*\(row 1 of 3\)"):
        decode_fields(EXPLICIT, values, 1, ids=table_with(older))


def test_an_older_version_of_another_schema_is_named() -> None:
    older = before()
    ids = table_with(older)
    value = value_of(older, 900, EVENT)
    with pytest.raises(BadRecord, match=f"schema id 900 is that of {EXPLICIT}; feedback.implicit has 3"):
        decode_record("feedback.implicit", value, ids=ids)


def test_a_version_that_cannot_be_read_is_said_so_record_by_record() -> None:
    older = before(value="string")
    value = value_of(older, 900, {**EVENT, "value": "much"})
    good = encode_record(EXPLICIT, EVENT)
    decoded = decode_block(EXPLICIT, [good, value], ids=table_with(older))
    (failure,) = decoded.failures
    assert failure.row == 1
    assert failure.reason.startswith(f"was written under a version of {EXPLICIT} that cannot be read: ")


def test_versions_are_kept_in_a_folder_under_their_ids(tmp_path: Path) -> None:
    avro = dict(before(text=None).document)
    (tmp_path / f"{EXPLICIT}.2.avsc").write_text(json.dumps(avro))
    (tmp_path / "README.md").write_text("")
    (kept,) = history(tmp_path).items()
    assert (kept[0], kept[1].schema, kept[1].document) == (2, EXPLICIT, avro)
    assert history(tmp_path / "none") == {}
    (tmp_path / "feedback.implicit.2.avsc").write_text("{}")
    with pytest.raises(ValueError, match="share the id 2"):
        history(tmp_path)
    (tmp_path / f"{EXPLICIT}.avsc").write_text("{}")
    with pytest.raises(ValueError, match=f"{EXPLICIT}.avsc: must be called SCHEMA.ID.avsc"):
        history(tmp_path)


@FEWER
@given(data=st.data())
def test_every_version_that_is_kept_can_be_read(data: st.DataObject) -> None:
    for schema_id, older in COMMITTED.earlier.items():
        assert incompatibilities(document(older.schema), older.document) == []
        value = value_of(older, schema_id, data.draw(records_of(older.document)))
        assert encode_record(older.schema, decode_record(older.schema, value)) == as_resolved(older, value)
