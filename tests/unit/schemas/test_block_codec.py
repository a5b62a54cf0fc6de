"""Blocks say the same as single records, in both directions, also when some of their values are bad."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.codec import (
    BadRecord,
    arrow_schema,
    decode_block,
    decode_fields,
    decode_record,
    encode_block,
    encode_record,
)
from rheostat.schemas.documents import field_names, has_blocks, names
from rheostat.schemas.ids import COMMITTED
from tests.unit.schemas.strategies import FEW, Record, damaged, records
from tests.unit.schemas.test_record_codec import EVENT, EXPLICIT, WRONG_VALUES

BLOCKS = [name for name in names() if has_blocks(name)]
SINGLES = [name for name in names() if not has_blocks(name)]


def rows_of(batch: pa.RecordBatch) -> list[Record]:
    """Return the rows as dictionaries, timestamps as integers."""
    fields = [pa.field(f.name, pa.int64()) if pa.types.is_timestamp(f.type) else f for f in batch.schema]
    rows: list[Record] = pa.Table.from_batches([batch]).cast(pa.schema(fields)).to_pylist()
    return rows


def events(count: int) -> list[bytes]:
    return [encode_record(EXPLICIT, {**EVENT, "event_id": f"e-{i}", "value": float(i)}) for i in range(count)]


@pytest.mark.parametrize("schema", BLOCKS)
@FEW
@given(data=st.data())
def test_a_block_holds_what_its_records_hold(schema: str, data: st.DataObject) -> None:
    values = [encode_record(schema, record) for record in data.draw(st.lists(records(schema), max_size=3))]
    decoded = decode_block(schema, values)
    assert decoded.failures == []
    assert decoded.batch.schema == arrow_schema(schema)
    assert repr(rows_of(decoded.batch)) == repr([decode_record(schema, value) for value in values])
    assert encode_block(schema, decoded.batch) == values


@pytest.mark.parametrize("schema", BLOCKS)
@FEW
@given(data=st.data())
def test_a_slice_of_a_batch_is_encoded_as_the_slice_of_the_values(schema: str, data: st.DataObject) -> None:
    some = st.lists(records(schema), min_size=1, max_size=3)
    values = [encode_record(schema, record) for record in data.draw(some)]
    start = data.draw(st.integers(0, len(values)))
    batch = decode_block(schema, values).batch.slice(start)
    assert encode_block(schema, batch) == values[start:]


@pytest.mark.parametrize("schema", BLOCKS)
@FEW
@given(data=st.data())
def test_bad_values_are_those_a_single_record_decoder_refuses(schema: str, data: st.DataObject) -> None:
    good = [encode_record(schema, record) for record in data.draw(st.lists(records(schema), min_size=1, max_size=3))]
    values = [value if data.draw(st.booleans()) else data.draw(damaged(value)) for value in good]
    refused = {}
    for row, value in enumerate(values):
        try:
            decode_record(schema, value)
        except BadRecord as bad:
            refused[row] = (bad.field, bad.reason)
    decoded = decode_block(schema, values)
    assert {failure.row: (failure.field, failure.reason) for failure in decoded.failures} == refused
    assert decoded.rows.tolist() == [row for row in range(len(values)) if row not in refused]
    assert encode_block(schema, decoded.batch) == [values[row] for row in decoded.rows]


@pytest.mark.parametrize(("value", "field", "words"), WRONG_VALUES)
def test_a_wrong_value_is_named_and_its_neighbours_stay(value: bytes | None, field: str, words: str) -> None:
    good = events(9)
    decoded = decode_block(EXPLICIT, [*good[:4], value, *good[4:]])
    (failure,) = decoded.failures
    assert (failure.row, failure.field) == (4, field)
    assert words in failure.reason
    assert encode_block(EXPLICIT, decoded.batch) == good
    assert decoded.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@FEW
@given(bad=st.sets(st.integers(0, 511), max_size=12))
def test_bad_values_cost_calls_by_the_logarithm_of_the_block(bad: set[int]) -> None:
    values = [value[:-1] if row in bad else value for row, value in enumerate(events(512))]
    calls = 0
    decode = pyruhvro.deserialize_array

    def counted(run: list[bytes], schema: str) -> pa.RecordBatch:
        nonlocal calls
        calls += 1
        return decode(run, schema)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyruhvro, "deserialize_array", counted)
        decoded = decode_block(EXPLICIT, values)
    assert [failure.row for failure in decoded.failures] == sorted(bad)
    assert calls <= 3 + 2 * len(bad) * math.log2(512)


@pytest.mark.parametrize("count", [10, 2_000])
def test_bytes_behind_a_record_are_seen_in_small_and_large_blocks(count: int) -> None:
    values: list[bytes | None] = [*events(count)]
    values[7] = (values[7] or b"") + b"more"
    found = decode_block(EXPLICIT, values)
    assert [failure.row for failure in found.failures] == [7]
    assert found.rows.tolist() == [row for row in range(count) if row != 7]


def test_a_block_of_bad_values_alone_is_empty() -> None:
    decoded = decode_block(EXPLICIT, [None, b"", b"\0\0\0\0\2"])
    assert decoded.batch.num_rows == 0
    assert decoded.batch.schema == arrow_schema(EXPLICIT)
    assert [failure.row for failure in decoded.failures] == [0, 1, 2]


@pytest.mark.parametrize("schema", BLOCKS)
def test_an_empty_block(schema: str) -> None:
    decoded = decode_block(schema, [])
    assert (decoded.batch.num_rows, decoded.failures) == (0, [])
    assert encode_block(schema, decoded.batch) == []
    assert decode_fields(schema, [], 1).num_rows == 0


@pytest.mark.parametrize("schema", SINGLES)
def test_schemas_with_bytes_or_maps_are_refused(schema: str) -> None:
    with pytest.raises(TypeError, match="no block form; use decode_record"):
        decode_block(schema, [])
    with pytest.raises(TypeError, match="no block form"):
        encode_block(schema, pa.RecordBatch.from_pylist([]))


@pytest.mark.parametrize("schema", BLOCKS)
@FEW
@given(data=st.data())
def test_first_fields_are_the_first_columns(schema: str, data: st.DataObject) -> None:
    values = [encode_record(schema, record) for record in data.draw(st.lists(records(schema), max_size=3))]
    count = data.draw(st.integers(1, len(field_names(schema))))
    expected = decode_block(schema, values).batch.select(range(count))
    assert repr(rows_of(decode_fields(schema, values, count))) == repr(rows_of(expected))


def test_first_fields_of_a_bad_value_are_an_error_that_names_the_row() -> None:
    values = events(5)
    values[3] = values[3][:7]
    with pytest.raises(BadRecord, match=r"event_id: .*\(row 3 of 5\)"):
        decode_fields(EXPLICIT, values, 1)


# As big-endian floats: a signalling NaN, a quiet one, a denormal, bytes above 127, and the largest id.
@pytest.mark.parametrize("schema_id", [0x7F800001, 0x0100C07F, 0x01000000, 0x80818283, 0xFFFFFFFF])
def test_any_id_survives_being_read_as_a_float(schema_id: int) -> None:
    ids = COMMITTED.replaced({EXPLICIT: schema_id})
    values = [encode_record(EXPLICIT, EVENT, ids=ids)] * 3
    decoded = decode_block(EXPLICIT, values, ids=ids)
    assert decoded.failures == []
    assert encode_block(EXPLICIT, decoded.batch, ids=ids) == values


def prediction_batch(**columns: pa.Array) -> pa.RecordBatch:
    record = {
        "prediction_id": "p",
        "model": "m",
        "epoch": 0,
        "sequence": 1,
        "feature_set": "f@1",
        "numeric": [1.0],
        "categorical": ["a"],
        "score": 0.5,
        "flags": [],
        "occurred_at": 1_760_000_000_000,
        "source": "s",
    }
    batch = decode_block("predictions", [encode_record("predictions", record)]).batch
    for name, column in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    return batch


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("model", pa.array(["x"]).dictionary_encode(), "x"),
        ("model", pa.array(["x"], pa.large_string()), "x"),
        ("model", pa.array(["x"], pa.string_view()), "x"),
        ("epoch", pa.array([7], pa.int32()), 7),
        ("score", pa.array([1]), 1.0),
        ("occurred_at", pa.array([5]), 5),
        ("occurred_at", pa.array([5], pa.timestamp("ms", "UTC")), 5),
        ("segment", pa.nulls(1), None),
        ("numeric", pa.array([[2, 3]]), [2.0, 3.0]),
        ("numeric", pa.array([[2.0]], pa.large_list(pa.float64())), [2.0]),
    ],
)
def test_columns_that_lose_nothing_are_cast(name: str, column: pa.Array, expected: object) -> None:
    (value,) = encode_block("predictions", prediction_batch(**{name: column}))
    assert decode_record("predictions", value)[name] == expected


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("model", pa.array([1]), "int64 where string is needed"),
        ("model", pa.array([b"x"]), "binary where string is needed"),
        ("model", pa.array([None], pa.string()), "1 nulls"),
        ("score", pa.array(["1.5"]), "string where double is needed"),
        ("score", pa.array([True]), "bool where double is needed"),
        ("epoch", pa.array([1.0]), "double where int64 is needed"),
        ("epoch", pa.array([2**63], pa.uint64()), "does not fit int64"),
        ("occurred_at", pa.array([1001], pa.timestamp("us")), "would lose data"),
        ("numeric", pa.array([[1.0, None]]), "items cannot be null"),
        ("numeric", pa.array([["1"]]), "where list<item: double> is needed"),
    ],
)
def test_columns_that_do_not_fit_are_named(name: str, column: pa.Array, words: str) -> None:
    with pytest.raises(TypeError, match=f"predictions.{name}: ") as caught:
        encode_block("predictions", prediction_batch(**{name: column}))
    assert words in str(caught.value)


def test_missing_and_unknown_columns_are_named() -> None:
    batch = prediction_batch().drop_columns(["score"]).append_column("colour", pa.array(["red"]))
    with pytest.raises(TypeError, match="missing: score; not in the schema: colour"):
        encode_block("predictions", batch)


def test_columns_may_come_in_any_order() -> None:
    batch = prediction_batch()
    assert encode_block("predictions", batch.select(batch.schema.names[::-1])) == encode_block("predictions", batch)


def test_an_unknown_enum_symbol_is_named() -> None:
    alert: dict[str, Any] = {"alert_id": "a", "rule": "r", "state": "open", "severity": "page", "summary": "s"}
    value = encode_record("alerts", {**alert, "value": 1.0, "threshold": 1.0, "at": 0})
    batch = decode_block("alerts", [value]).batch
    index = batch.schema.get_field_index("severity")
    with pytest.raises(TypeError, match=r"alerts\.severity: has values other than info, ticket, page"):
        encode_block("alerts", batch.set_column(index, "severity", pa.array(["dire"])))


def test_lists_of_records_built_by_hand_are_encoded() -> None:
    record = {
        "model": "m",
        "epoch": 0,
        "sequence": 3,
        "learned": True,
        "ranges": [{"partition": 1, "start": 5, "end": 9}],
        "cells": [],
        "first_at": 1,
        "last_at": 2,
        "evaluated_at": 3,
        "cohorts": [],
        "calibration_slope": 1.0,
        "calibration_offset": 0.0,
        "propensity_floor": 1.0,
    }
    batch = pa.RecordBatch.from_pylist([record], schema=arrow_schema("evaluations"))
    assert encode_block("evaluations", batch) == [encode_record("evaluations", record)]


def test_a_large_block_keeps_its_order() -> None:
    values = events(10_000)
    decoded = decode_block(EXPLICIT, values)
    assert np.array_equal(decoded.batch.column("value").to_numpy(), np.arange(10_000.0))
    assert encode_block(EXPLICIT, decoded.batch) == values


def test_surplus_bits_in_a_tenth_byte_are_seen() -> None:
    value = encode_record(EXPLICIT, {**EVENT, "occurred_at": 2**63 - 1})
    odd = value.replace(b"\xfe" + b"\xff" * 8 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x7f")
    decoded = decode_block(EXPLICIT, [value, odd, value])
    assert [(failure.row, failure.field) for failure in decoded.failures] == [(1, "occurred_at")]
    assert encode_block(EXPLICIT, decoded.batch) == [value, value]
