"""Tensor files: what was dumped is loaded, the bytes are reproducible, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from rheostat.learners.digest import DTYPES, canonical, tensors_digest
from rheostat.learners.tensorfile import TensorFileError, dump, lay_out, load
from tests.unit.learners.support import ANY_SPEED

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=["L", "N"]), min_size=1, max_size=9)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}
    for name in draw(st.lists(names, unique=True, max_size=5)):
        dtype, shape = DTYPES[draw(st.sampled_from(sorted(DTYPES)))], draw(shapes)
        count = int(np.prod(shape))
        if dtype == np.bool_:
            found[name] = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool).reshape(shape)
        else:
            size = count * dtype.itemsize
            raw = draw(st.binary(min_size=size, max_size=size))
            found[name] = np.frombuffer(raw, dtype).reshape(shape)
    return found


@ANY_SPEED
@given(tensors())
def test_round_trip_to_the_bit(given_tensors: dict[str, NDArray[np.generic]]) -> None:
    data = dump(given_tensors)
    found = load(data, bytes_max=len(data), tensors_max=5)
    assert tensors_digest(found) == tensors_digest(given_tensors)
    assert all(tensor.flags.writeable for tensor in found.values())


@ANY_SPEED
@given(tensors())
def test_bytes_do_not_depend_on_the_order(given_tensors: dict[str, NDArray[np.generic]]) -> None:
    turned = dict(reversed(given_tensors.items()))
    assert dump(given_tensors, {"a": "b"}) == dump(turned, {"a": "b"})


@ANY_SPEED
@given(tensors())
def test_the_library_reads_it_the_same(given_tensors: dict[str, NDArray[np.generic]]) -> None:
    assert tensors_digest(safetensors.load(dump(given_tensors))) == tensors_digest(given_tensors)


@ANY_SPEED
@given(tensors())
def test_the_library_writes_the_same(given_tensors: dict[str, NDArray[np.generic]]) -> None:
    written = {name: canonical(tensor) for name, tensor in given_tensors.items()}
    assert dump(given_tensors) == safetensors.save(written)


@ANY_SPEED
@given(tensors(), st.integers(0, 400), st.integers(0, 400))
def test_any_part_of_a_file_can_be_had_without_the_whole(
    given_tensors: dict[str, NDArray[np.generic]], start: int, end: int
) -> None:
    laid, whole = lay_out(given_tensors), dump(given_tensors)
    assert laid.between(start, end) == whole[start:end]
    assert (laid.size, laid.sha256()) == (len(whole), hashlib.sha256(whole).hexdigest())


@ANY_SPEED
@given(tensors(), st.data())
def test_damaged_bytes_are_refused_or_read_within_limits(
    given_tensors: dict[str, NDArray[np.generic]], data: st.DataObject
) -> None:
    good = bytearray(dump(given_tensors))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        found = load(cut, bytes_max=10**6, tensors_max=5)
    except TensorFileError:
        return
    assert sum(tensor.nbytes for tensor in found.values()) < len(cut)


@ANY_SPEED
@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    try:
        found = load(data, bytes_max=1000, tensors_max=5)
    except TensorFileError:
        return
    assert found == {}


def _file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _one(**changes: Any) -> bytes:
    return _file({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8], **changes}}, bytes(8))


TWO = {"dtype": "U8", "shape": [4]}
REFUSED: dict[str, bytes] = {
    "empty": b"",
    "header longer than the file": (1 << 62).to_bytes(8, "little") + b"{}",
    "not an object": _file([]),
    "not JSON": _file(b"{"),
    "deep nesting": _file(b"[" * 100_000),
    "not UTF-8": _file(b'{"\xff": 1}'),
    "a key twice": _file(b'{"a": 1, "a": 2}'),
    "not a number": _file(b'{"a": NaN}'),
    "unknown dtype": _one(dtype="O"),
    "dtype of another type": _one(dtype=["F64"]),
    "bfloat": _one(dtype="BF16"),
    "extra field": _one(code="x"),
    "negative size": _one(shape=[-1]),
    "truth as size": _one(shape=[True]),
    "float as size": _one(shape=[1.0]),
    "huge size": _one(shape=[2**60]),
    "huge product": _one(shape=[2**40, 2**40]),
    "size does not fit": _one(shape=[2]),
    "too many axes": _one(shape=[1] * 9),
    "offsets reversed": _one(data_offsets=[8, 0]),
    "one offset": _one(data_offsets=[8]),
    "starts late": _one(data_offsets=[1, 9]),
    "bytes left over": _file({"a": {**TWO, "data_offsets": [0, 4]}}, bytes(5)),
    "bytes missing": _file({"a": {**TWO, "data_offsets": [0, 4]}}, bytes(3)),
    "overlap": _file({"a": {**TWO, "data_offsets": [0, 4]}, "b": {**TWO, "data_offsets": [2, 6]}}, bytes(6)),
    "the same bytes twice": _file(
        {"a": {**TWO, "data_offsets": [0, 4]}, "b": {**TWO, "data_offsets": [0, 4]}}, bytes(4)
    ),
    "gap": _file({"a": {**TWO, "data_offsets": [0, 4]}, "b": {**TWO, "data_offsets": [5, 9]}}, bytes(9)),
    "empty name": _file({"": {**TWO, "data_offsets": [0, 4]}}, bytes(4)),
    "long name": _file({"a" * 300: {**TWO, "data_offsets": [0, 4]}}, bytes(4)),
    "unprintable name": _file({"a\x00": {**TWO, "data_offsets": [0, 4]}}, bytes(4)),
    "two metadata keys": _file({"__metadata__": {"a": "b", "c": "d"}}),
    "metadata of another type": _file({"__metadata__": {"a": 1}}),
    "truth value of 2": _file({"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\x02"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused(what: str) -> None:
    with pytest.raises(TensorFileError):
        load(REFUSED[what], bytes_max=10**6, tensors_max=10)


def test_the_good_file_of_the_cases_above_is_accepted() -> None:
    assert load(_one(), bytes_max=10**6, tensors_max=1)["a"].shape == (1,)


@pytest.mark.parametrize(("limit", "value"), [("bytes_max", 10), ("tensors_max", 1)])
def test_limits(limit: str, value: int) -> None:
    limits = {"bytes_max": 10**6, "tensors_max": 2, limit: value}
    with pytest.raises(TensorFileError, match="limit"):
        load(dump({"a": np.zeros(1), "b": np.zeros(1)}), **limits)


@pytest.mark.parametrize(
    "write",
    [
        lambda: dump({"a": np.zeros(1)}, {"a": "b", "c": "d"}),
        lambda: dump({"": np.zeros(1)}),
        lambda: dump({"__metadata__": np.zeros(1)}),
        lambda: dump({"a": np.array(["text"])}),
    ],
)
def test_dump_refuses_what_load_would(write: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match=r"metadata|name|dtype"):
        write()
