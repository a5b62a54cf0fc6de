"""Digests: fixed bytes, sensitive to everything, and the cache cannot tell another story."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.learners.digest import CHUNK_BYTES, DTYPES, DigestCache, tensor_digest, tensors_digest


def test_layout_is_the_documented_one() -> None:
    tensor = np.arange(CHUNK_BYTES // 8 + 3, dtype=np.float64).reshape(-1, 1)
    data = tensor.tobytes()
    head = b"rheostat-tensor/1\0" + struct.pack("<I", 1) + b"w" + struct.pack("<I", 3) + b"F64"
    head += struct.pack("<IQQ", 2, len(tensor), 1)
    chunks = hashlib.sha256(data[:CHUNK_BYTES]).digest() + hashlib.sha256(data[CHUNK_BYTES:]).digest()
    expected = hashlib.sha256(head + chunks).digest()
    assert tensor_digest("w", tensor) == expected
    body = b"rheostat-tensors/1\0" + struct.pack("<II", 1, 1) + b"w" + expected
    assert tensors_digest({"w": tensor}) == hashlib.sha256(body).hexdigest()


def test_vectors() -> None:
    assert tensors_digest({}) == "f72afbe34e75a5d05796c00b393cf8b086baebfa508c7cf619b4831d70fe57f8"
    tensors = {"weights": np.array([0.5, -0.0, 1e300]), "n": np.array(7, np.int64)}
    assert tensors_digest(tensors) == "a3827f7e0046a587e1c105aff04e7a09d69e5a5c4e532340060caf898af02e5f"


def test_order_of_names_and_memory_layout_do_not_matter() -> None:
    a, b = np.arange(12.0).reshape(3, 4), np.arange(5, dtype=np.int32)
    assert tensors_digest({"a": a, "b": b}) == tensors_digest({"b": b.astype(">i4"), "a": np.asfortranarray(a)})


@pytest.mark.parametrize(
    "other",
    [
        {"b": np.zeros(4)},
        {"a": np.zeros((2, 2))},
        {"a": np.zeros(4, np.float32)},
        {"a": np.zeros(8, np.float32)},
        {"a": np.array([0.0, 0.0, 0.0, -0.0])},
        {"a": np.zeros(5)},
        {"a": np.zeros(4), "b": np.zeros(0)},
    ],
)
def test_every_difference_shows(other: dict[str, NDArray[np.generic]]) -> None:
    assert tensors_digest(other) != tensors_digest({"a": np.zeros(4)})


@pytest.mark.parametrize("tensor", [np.array(["text"]), np.array([object()]), np.zeros(2, np.complex128)])
def test_other_dtypes_are_refused(tensor: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        tensors_digest({"a": tensor})


@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.sampled_from([(), (0,), (1,), (700, 30), (5, 0, 2), (9, 40_000), (30_000,)]),
    edits=st.lists(st.lists(st.integers(0, 10**6), max_size=4), max_size=4),
)
def test_cache_equals_the_full_digest(dtype: str, shape: tuple[int, ...], edits: list[list[int]]) -> None:
    tensor = np.zeros(shape, DTYPES[dtype])
    tensors = {"edited": tensor, "still": np.ones(3)}
    cache = DigestCache()
    assert cache.digest(tensors, {}) == tensors_digest(tensors)
    for edit in edits:
        rows = np.array([index % shape[0] for index in edit] if shape and shape[0] else [], np.int64)
        if shape:
            tensor[rows] = ~tensor[rows] if tensor.dtype == np.bool_ else tensor[rows] + 1
        assert cache.digest(tensors, {"edited": rows}) == tensors_digest(tensors)


def test_a_copy_goes_its_own_way() -> None:
    table = np.zeros((1_000, 8))
    cache = DigestCache()
    before = cache.digest({"table": table}, {})
    other = cache.copy()
    table[700] = 1.0
    assert other.digest({"table": table}, {"table": np.array([700])}) == tensors_digest({"table": table})
    assert cache.digest({"table": table}, {}) == before


def test_cache_hashes_only_what_is_touched() -> None:
    table = np.zeros((100_000, 8), np.float32)
    cache = DigestCache()
    before = cache.digest({"table": table}, {})
    table[:] = 1.0
    assert cache.digest({"table": table}, {}) == before
    assert cache.digest({"table": table}, {"table": None}) == tensors_digest({"table": table})


def test_cache_follows_new_shapes_and_lost_names() -> None:
    cache = DigestCache()
    cache.digest({"a": np.zeros(3), "b": np.zeros(3)}, {})
    assert cache.digest({"a": np.zeros(4)}, {}) == tensors_digest({"a": np.zeros(4)})


def test_cache_refuses_rows_outside_the_tensor() -> None:
    cache = DigestCache()
    cache.digest({"a": np.zeros(3)}, {})
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        cache.digest({"a": np.zeros(3)}, {"a": np.array([3])})
