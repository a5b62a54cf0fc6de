"""Columns taken out where records lie are those that decoding gives, or there are none: decoding then says why."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_own, decode_record, encode_record
from rheostat.schemas.documents import document, field_names
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.layouts import Layout
from rheostat.streams import avro_gather, avro_scan, avro_words, packed_columns
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.packed import Packed, packed
from rheostat.streams.errors import Corrupt
from rheostat.streams.packed_columns import own_columns, read_columns
from tests.support.examples import an_example
from tests.support.feedback import event
from tests.support.schema_ids import ids_in_force
from tests.unit.schemas.older import value_of
from tests.unit.schemas.strategies import FEW, Record, damaged, records
from tests.unit.streams.intake.test_schema_ids import OLD_ID, cut, without

TOPICS = (
    catalogue.EXAMPLES,
    catalogue.PREDICTIONS,
    catalogue.LEDGER,
    catalogue.FEEDBACK_EXPLICIT,
    catalogue.ALARMS,
    catalogue.ALERTS,
    catalogue.PRIVACY_COMMANDS,
)


def block(topic: str, values: Sequence[bytes | None]) -> Block:
    return Block(topic, 3, range(70, 70 + len(values)), [None] * len(values), values, [0] * len(values))


def pack(topic: str, values: Sequence[bytes | None], around: int = 0) -> Packed:
    """Return values as they lie in memory, between other bytes."""
    run = packed(block(topic, values))
    data = np.full(len(run.data) + 40, around, np.uint8)
    data[20:-20] = run.data
    return Packed(data[20:-20], run.ends, run.timestamps_ms)


def listed(column: pa.Array) -> str:
    """Return what a column has, times as integers, as NaN equals NaN in a text."""
    return repr((column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())


def assert_same(found: pa.RecordBatch | None, expected: pa.RecordBatch) -> None:
    assert found is not None
    found.validate(full=True)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert list(map(listed, found.columns)) == list(map(listed, expected.columns))


def a_record(topic: str) -> Record:
    """A record of a topic."""
    if topic == catalogue.EXAMPLES:
        return an_example(0)
    if topic == catalogue.FEEDBACK_EXPLICIT:
        return event("e-1")
    texts = {"alert_id": "a", "rule": "r", "model": None, "summary": ""}
    return {**texts, "state": "open", "severity": "page", "value": 0.0, "threshold": 1.0, "at": 0}


def some_names(topic: str) -> st.SearchStrategy[list[str]]:
    """Some fields in any order."""
    names = st.lists(st.sampled_from(field_names(topic)), unique=True)
    return st.one_of(st.permutations(field_names(topic)), names)


@pytest.mark.parametrize("topic", TOPICS)
@FEW
@given(st.data())
def test_columns_are_those_of_all_runs_decoded_in_one(topic: str, data: st.DataObject) -> None:
    of_runs = data.draw(st.lists(st.lists(records(topic), max_size=4), max_size=3))
    runs = [[encode_record(topic, each) for each in of_run] for of_run in of_runs]
    names = data.draw(some_names(topic))
    found = read_columns(topic, [pack(topic, values) for values in runs], names)
    assert_same(found, decode_own(topic, list(chain.from_iterable(runs))).select(names))


@pytest.mark.parametrize("topic", TOPICS)
@FEW
@given(st.data())
def test_damaged_records_are_read_as_decoding_reads_them_or_not_at_all(topic: str, data: st.DataObject) -> None:
    values = [encode_record(topic, data.draw(records(topic))) for _ in range(data.draw(st.integers(1, 3)))]
    for _ in range(12):
        at = data.draw(st.integers(0, len(values) - 1))
        broken = [*values[:at], data.draw(damaged(values[at])), *values[at + 1 :]]
        names = data.draw(some_names(topic))
        found, other = (read_columns(topic, [pack(topic, broken, around)], names) for around in (0, 0xFF))
        assert (found is None) == (other is None)
        if found is not None:
            assert_same(found, decode_own(topic, broken).select(names))
            assert_same(other, found)


@contextmanager
def interpreted() -> Iterator[None]:
    """Have the loops run by Python, where numpy checks every place that is read or written."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(over="ignore"):
        for module in (avro_words, avro_scan, avro_gather, packed_columns):
            for name, each in vars(module).copy().items():
                if isinstance(each, Dispatcher):
                    patch.setattr(module, name, each.py_func)
        yield


@pytest.mark.parametrize("topic", TOPICS)
@FEW
@given(st.data())
def test_nothing_is_read_or_written_outside_of_the_data(topic: str, data: st.DataObject) -> None:
    value = encode_record(topic, data.draw(records(topic)))
    values = [value, data.draw(damaged(value))]
    names = data.draw(some_names(topic))
    for some in (values, values[::-1], [value]):
        run = packed(block(topic, some))
        with interpreted():
            found = read_columns(topic, [run], names)
        expected = read_columns(topic, [run], names)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert_same(found, expected)


@pytest.mark.parametrize("last", ["", "a", "bb", "größe", "12345678", "123456789"])
def test_texts_of_an_array_may_be_the_last_bytes_there_are(last: str) -> None:
    """But for three: eight are read at a time only where there are as many."""
    texts = {"command_id": "c", "subject_id": "s", "kind": "grant", "issuer": ""}
    value = encode_record(catalogue.PRIVACY_COMMANDS, {**texts, "purposes": ["x", last], "issued_at": 0})
    run = packed(block(catalogue.PRIVACY_COMMANDS, [value]))
    with interpreted():
        found = read_columns(catalogue.PRIVACY_COMMANDS, [run], ["purposes"])
    assert_same(found, decode_own(catalogue.PRIVACY_COMMANDS, [value]).select(["purposes"]))


def test_a_record_cut_off_anywhere_is_seen() -> None:
    value = encode_record(catalogue.EXAMPLES, {**an_example(0), "categorical": ["red", "", "x" * 200]})
    with interpreted():
        for end in range(len(value)):
            run = packed(block(catalogue.EXAMPLES, [value, value[:end]]))
            assert read_columns(catalogue.EXAMPLES, [run], ["label"]) is None


@pytest.mark.parametrize("size", [0, *range(55, 67)])
def test_a_column_of_any_size_has_room(size: int) -> None:
    """Also for what is copied of its last word without being its own."""
    kinds = ("x" * size, "y")
    values = [encode_record(catalogue.EXAMPLES, {**an_example(0), "kind": kind}) for kind in kinds]
    with interpreted():
        found = read_columns(catalogue.EXAMPLES, [packed(block(catalogue.EXAMPLES, values))], ["kind"])
    assert_same(found, decode_own(catalogue.EXAMPLES, values).select(["kind"]))


@pytest.mark.parametrize("length", [6, 30, 63, 2**31 - 1, 2**31, 2**62, -1, -(2**31)])
@pytest.mark.parametrize("at", [b"\x04" + np.array([1.0, 2.0]).tobytes(), b"\x06red", b"\x02\x06red", b"\x06all"])
def test_lengths_beyond_the_record_are_not_followed(at: bytes, length: int) -> None:
    value = encode_record(catalogue.EXAMPLES, {**an_example(0), "numeric": [1.0, 2.0]})
    zigzag = length << 1 ^ length >> 63
    written = bytes(zigzag >> 7 * each & 127 | 128 for each in range(9)) + bytes([zigzag >> 63])
    written = written[: max(1, -(-zigzag.bit_length() // 7))]
    broken = value.replace(at, written[:-1] + bytes([written[-1] & 127]) + at[1:])
    assert broken != value
    with interpreted():
        for values in ([broken], [broken, value]):
            assert read_columns(catalogue.EXAMPLES, [packed(block(catalogue.EXAMPLES, values))], ["label"]) is None


def test_records_longer_than_a_column_is_gathered_at_once() -> None:
    """And so many that columns are gathered in several goes."""
    texts = ["", "a" * 7, "b" * 8, "ü" * 9, "c" * 300, "\U0001f600" * 100]
    examples: list[Record] = [
        {
            **an_example(number),
            "numeric": [float(number)] * (number % 70),
            "categorical": [texts[at % 6] for at in range(number % 5)],
            "segment": texts[number % 6] if number % 3 else None,
            "propensity": number / 7 if number % 2 else None,
        }
        for number in range(2_500)
    ]
    values = [encode_record(catalogue.EXAMPLES, each) for each in examples]
    runs = [pack(catalogue.EXAMPLES, part) for part in (values[:1_500], [], values[1_500:])]
    names = field_names(catalogue.EXAMPLES)
    assert_same(read_columns(catalogue.EXAMPLES, runs, names), decode_own(catalogue.EXAMPLES, values))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("example_id", b"\xff"),
        ("subject", b"12345678\xc0\x80"),
        ("kind", b"\xed\xa0\x80"),
        ("segment", b"abc\xe2\x82"),
        ("categorical", b"\xf4\x90\x80\x80"),
    ],
)
def test_a_text_that_is_not_utf8_is_seen_wherever_it_is(field: str, text: bytes) -> None:
    """Also in a field that nobody asked for."""
    mark = "\x01" * len(text)
    example = {**an_example(0), field: [mark] if field == "categorical" else mark}
    good = encode_record(catalogue.EXAMPLES, example)
    bad = good.replace(mark.encode(), text)
    assert bad != good
    assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [good])], ["label"]) is not None
    assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [bad])], ["label"]) is None
    with pytest.raises(Corrupt, match=r"examples\[3\]@71"):
        own_columns([block(catalogue.EXAMPLES, [good, bad, good])], ["label"])


@pytest.mark.parametrize(
    ("written", "other"),
    [
        (b"\x02\x06all", b"\x01\x06all"),
        (b"\x02\x06all", b"\x03\x06all"),
        (np.array([1.0, 2.0]).tobytes() + b"\0", np.array([1.0, 2.0]).tobytes() + b"\1"),
        (b"\x02\x06red\0", b"\x02\x06red\1"),
        (b"\x02\x06red\0", b"\x02\x05red\0"),
    ],
)
def test_one_wrong_byte_where_all_others_fit_is_seen(written: bytes, other: bytes) -> None:
    """The place in [null, kind], the empty block that ends an array, a length."""
    value = encode_record(catalogue.EXAMPLES, {**an_example(0), "numeric": [1.0, 2.0]})
    assert value.count(written) == 1
    found = read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [value.replace(written, other)])], ["label"])
    assert found is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: None,
        lambda value: b"",
        lambda value: value[:-1],
        lambda value: value + b"\0",
        lambda value: b"\1" + value[1:],
        lambda value: value[:4] + bytes([value[4] ^ 1]) + value[5:],
    ],
)
def test_what_is_no_record_of_the_present_version_is_left_to_decoding(spoil: Any) -> None:
    value = encode_record(catalogue.EXAMPLES, an_example(0))
    for values in ([spoil(value), value], [value, spoil(value)]):
        assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, values)], ["label"]) is None


@pytest.mark.parametrize(
    ("topic", "field", "good", "bad"),
    [
        (catalogue.EXAMPLES, "revision", (2**31 - 1, -(2**31)), (2**31, -(2**31) - 1)),
        (catalogue.ALERTS, "severity", (0, 2), (3, -1)),
        (catalogue.FEEDBACK_EXPLICIT, "consent", (0, -1), (1, -2, 63, -64)),
    ],
)
def test_numbers_that_their_type_does_not_allow_are_left_to_decoding(
    topic: str, field: str, good: Sequence[int], bad: Sequence[int]
) -> None:
    """They are written as longs, as all integers and enums are; as -1 is, so is true."""
    avro = copy.deepcopy(dict(document(topic)))
    next(each for each in avro["fields"] if each["name"] == field)["type"] = "long"
    record = decode_record(topic, encode_record(topic, a_record(topic)))
    for number in (*good, *bad):
        value = value_of(Layout(topic, avro), COMMITTED.id_of(topic), {**record, field: number})
        found = read_columns(topic, [pack(topic, [value])], [field])
        if number in good:
            assert_same(found, decode_own(topic, [value]).select([field]))
        else:
            assert found is None


def test_arrays_that_others_write_in_several_blocks_are_left_to_decoding() -> None:
    """Avro allows a negative count with the bytes of a block behind it, and more than one block."""
    value = encode_record(catalogue.EXAMPLES, {**an_example(0), "numeric": [1.0, 2.0], "categorical": []})
    numbers = np.array([1.0, 2.0]).tobytes()
    written = b"\x04" + numbers + b"\0"
    for other in (b"\x03\x20" + numbers + b"\0", b"\x02" + numbers[:8] + b"\x02" + numbers[8:] + b"\0"):
        names = ["numeric", "was_weight"]
        values = [value, value.replace(written, other)]
        assert values[1] != value
        assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, values)], names) is None
        expected = decode_own(catalogue.EXAMPLES, [value] * 2).select(names)
        assert_same(own_columns([block(catalogue.EXAMPLES, values)], names), expected)


def test_records_of_an_older_version_are_decoded_to_the_same_columns() -> None:
    older = without(catalogue.EXAMPLES, "was_label", "was_weight")
    example = {**an_example(0), "action": None, "arm": None, "revision": 0, "was_label": 0.0, "was_weight": 0.0}
    new, old = encode_record(catalogue.EXAMPLES, example), value_of(older, OLD_ID, cut(example, older))
    names = ["was_weight", "example_id", "numeric"]
    with ids_in_force(COMMITTED.replaced({}, {OLD_ID: older})):
        assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [new, old])], names) is None
        found = own_columns([block(catalogue.EXAMPLES, [new, old])], names)
    assert_same(found, decode_own(catalogue.EXAMPLES, [new, new]).select(names))


def test_records_are_known_by_the_ids_in_force() -> None:
    moved = COMMITTED.replaced({catalogue.EXAMPLES: 4_711})
    theirs = encode_record(catalogue.EXAMPLES, an_example(0), ids=moved)
    ours = encode_record(catalogue.EXAMPLES, an_example(0))
    for value, ids in ((ours, COMMITTED), (theirs, moved)):
        other = theirs if value is ours else ours
        with ids_in_force(ids):
            assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [value])], ["label"]) is not None
            assert read_columns(catalogue.EXAMPLES, [pack(catalogue.EXAMPLES, [other])], ["label"]) is None


def test_schemas_with_records_inside_are_left_to_decoding() -> None:
    assert read_columns(catalogue.EVALUATIONS, [], ["model"]) is None


def test_schemas_without_columns_and_unknown_names_are_refused() -> None:
    with pytest.raises(TypeError, match="no block form"):
        read_columns(catalogue.DEADLETTER, [], ["field"])
    with pytest.raises(KeyError, match="colour"):
        read_columns(catalogue.EXAMPLES, [], ["colour"])
