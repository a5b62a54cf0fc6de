"""Sizes told from Arrow columns are those of the encoded bytes."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.codec import decode_block, encode_record
from rheostat.schemas.documents import document, has_blocks, names, plain
from rheostat.schemas.sizes import TenByteNumberError, canonical_bytes, varint_bytes
from tests.unit.schemas.strategies import FEW, records


def zigzag_bytes(number: int) -> int:
    """Return the length of a zigzag varint by its definition."""
    folded = 2 * number if number >= 0 else -2 * number - 1
    return max(1, -(-folded.bit_length() // 7))


@given(numbers=st.lists(st.integers(-(2**62), 2**62 - 1), max_size=20))
def test_numbers_are_as_long_as_their_definition_says(numbers: list[int]) -> None:
    assert varint_bytes(np.array(numbers, np.int64)) == sum(map(zigzag_bytes, numbers))


@pytest.mark.parametrize("bits", [6, 13, 20, 27, 34, 41, 48, 55, 61])
def test_numbers_grow_at_every_seventh_bit(bits: int) -> None:
    for number in (2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1):
        assert varint_bytes(np.array([number])) == zigzag_bytes(number)


@pytest.mark.parametrize("number", [2**62, -(2**62) - 1, 2**63 - 1, -(2**63)])
def test_numbers_of_ten_bytes_are_not_judged_by_length(number: int) -> None:
    with pytest.raises(TenByteNumberError):
        varint_bytes(np.array([0, number]))


@pytest.mark.parametrize("schema", [name for name in names() if has_blocks(name)])
@FEW
@given(data=st.data())
def test_columns_are_as_long_as_their_encoding(schema: str, data: st.DataObject) -> None:
    some = data.draw(st.lists(records(schema), min_size=1, max_size=3))
    batch = decode_block(schema, [encode_record(schema, record) for record in some]).batch
    for field in plain(document(schema))["fields"]:
        try:
            total = canonical_bytes(field["type"], batch.column(field["name"]))
        except TenByteNumberError:
            continue
        assert total == sum(field_bytes(field["type"], record[field["name"]]) for record in some)


def field_bytes(avro: Any, value: object) -> int:
    """Return the encoded length of one field's value, by fastavro."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(avro), value)
    return len(out.getvalue())
