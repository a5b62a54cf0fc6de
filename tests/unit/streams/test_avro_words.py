"""Numbers and texts are read as Avro and Unicode have them, wherever in the data they lie."""

from __future__ import annotations

import io

import numpy as np
from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.streams.avro_words import is_utf8, number, put_word, word

LONG = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.tuples(st.integers(0, 62), st.integers(-2, 2)).map(lambda pair: 2 ** pair[0] + pair[1]),
    st.tuples(st.integers(0, 62), st.integers(-2, 2)).map(lambda pair: -(2 ** pair[0]) + pair[1]),
)
TAILS = st.binary(max_size=12)


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def written(value: int) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, "long", value)
    return out.getvalue()


@given(LONG, TAILS, TAILS)
def test_numbers_are_read_as_they_were_written(value: int, before: bytes, behind: bytes) -> None:
    of_value = written(value)
    data, at, end = array(before + of_value + behind), len(before), len(before) + len(of_value)
    assert number(data, at, end) == (value, end)
    assert number(data, at, len(data)) == (value, end)
    assert number(data, at, end - 1)[1] == -1
    assert number(data[: end - 1], at, end - 1)[1] == -1


@given(LONG, st.integers(1, 4), TAILS)
def test_numbers_longer_than_they_need_be_are_none(value: int, more: int, behind: bytes) -> None:
    short = written(value)
    longer = short[:-1] + bytes([short[-1] | 128]) + b"\x80" * (more - 1) + b"\0"
    data = array(longer + behind)
    assert number(data, 0, len(data))[1] == -1


@given(st.integers(2, 127), st.binary(min_size=9, max_size=9), TAILS)
def test_numbers_of_more_than_64_bits_are_none(last: int, first: bytes, behind: bytes) -> None:
    nine = bytes(each | 128 for each in first)
    for data in (array(nine + bytes([last]) + behind), array(nine + b"\x81\1" + behind)):
        assert number(data, 0, len(data))[1] == -1


LEADS = st.sampled_from(
    [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4]
)
ODD = st.lists(st.one_of(LEADS, st.integers(0, 255)), max_size=8).map(bytes)


@given(
    st.one_of(ODD, st.text().map(str.encode), st.tuples(st.text(), ODD).map(lambda pair: pair[0].encode() + pair[1]))
)
def test_utf8_is_what_python_decodes(data: bytes) -> None:
    """Also where what would go on with it lies behind its end."""
    try:
        data.decode()
        good = True
    except UnicodeDecodeError:
        good = False
    lying = array(b"\xf4" + data + b"\x80\x80\x80")
    assert is_utf8(lying, 1, 1 + len(data)) == good


@given(st.binary(min_size=8, max_size=24), st.data())
def test_a_word_is_eight_bytes(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 8))
    assert word(array(data), at) == int.from_bytes(data[at : at + 8], "little")
    out = np.full(len(data), 7, np.uint8)
    put_word(out, at, np.uint64(word(array(data), at)))
    assert out.tobytes() == b"\7" * at + data[at : at + 8] + b"\7" * (len(data) - at - 8)
