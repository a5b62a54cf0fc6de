"""Digest of named tensors: equal state gives equal bytes, and a changed row costs only its own chunk.

Layout (all integers little-endian, `text(s)` = u32 byte length then UTF-8 bytes):

    chunks(t)        = the C-order little-endian bytes of t, cut every 1024 bytes (none for an empty tensor)
    tensor_digest    = SHA-256( "rheostat-tensor/1\\0" text(name) text(dtype) u32 ndim u64 dim... SHA-256(chunk)... )
    tensors_digest   = SHA-256( "rheostat-tensors/1\\0" u32 count { text(name) tensor_digest }... ), by name bytes

`dtype` is the safetensors name ("F64", "U8", ...); dtypes outside `DTYPES` are refused. Chunks are small because the
rows that a step touches are spread over the whole table: so much is hashed again for each of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors

CHUNK_BYTES = 1_024
_DIGEST_BYTES = 32
_CHUNKS_AT_ONCE = 4_096

DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {
        "BOOL": np.dtype("bool"),
        "U8": np.dtype("<u1"),
        "U16": np.dtype("<u2"),
        "U32": np.dtype("<u4"),
        "U64": np.dtype("<u8"),
        "I8": np.dtype("<i1"),
        "I16": np.dtype("<i2"),
        "I32": np.dtype("<i4"),
        "I64": np.dtype("<i8"),
        "F16": np.dtype("<f2"),
        "F32": np.dtype("<f4"),
        "F64": np.dtype("<f8"),
    }
)
"""The dtypes a tensor may have, by their safetensors names."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}

Rows = NDArray[np.int64]


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """Return the safetensors name of a dtype; ValueError for one that is not allowed in a model."""
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        raise ValueError(f"tensor dtype {dtype} is not allowed; use one of {', '.join(DTYPES)}")
    return name


def canonical(tensor: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the tensor in C order and little-endian, as it is hashed and stored; no copy if it is already so."""
    dtype_name(tensor.dtype)
    return np.require(tensor, dtype=tensor.dtype.newbyteorder("<"), requirements=["C"])


def tensor_digest(name: str, tensor: NDArray[np.generic]) -> bytes:
    """Return the SHA-256 of one tensor, 32 bytes, in the module's layout."""
    tensor = canonical(tensor)
    return _tensor_digest(name, tensor, _all_chunk_digests(tensor))


def tensors_digest(tensors: Tensors) -> str:
    """Return the SHA-256 of named tensors as 64 hexadecimal digits, in the module's layout."""
    return _combine({name: tensor_digest(name, tensor) for name, tensor in tensors.items()})


class DigestCache:
    """Digests versions of one state, hashing again only what is told to be touched.

    The result equals `tensors_digest` as long as `touched` names everything that changed since the last call.
    """

    def __init__(self) -> None:
        self._layout: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {}
        self._chunks: dict[str, bytes | bytearray] = {}
        self._digests: dict[str, bytes] = {}

    def copy(self) -> DigestCache:
        """Return one that goes its own way from here; cheap, because what is kept of chunks is never changed."""
        other = DigestCache()
        other._layout, other._chunks, other._digests = self._layout.copy(), self._chunks.copy(), self._digests.copy()
        return other

    def forget(self) -> None:
        """Give up what is kept: the next digest hashes everything. Ones that were copied from this stay as they are."""
        self._layout, self._chunks, self._digests = {}, {}, {}

    def digest(self, tensors: Tensors, touched: Mapping[str, Rows | None]) -> str:
        """Return the digest of `tensors`.

        touched: for each changed tensor the changed indices of its first axis, or None for all of it. A tensor
        that is new, or has another dtype or shape, is hashed whole; one that is gone is forgotten.
        """
        for name in self._layout.keys() - tensors.keys():
            del self._layout[name], self._chunks[name], self._digests[name]
        for name, tensor in tensors.items():
            layout = (tensor.dtype, tensor.shape)
            if self._layout.get(name) != layout:
                self._hash(name, canonical(tensor), None)
                self._layout[name] = layout
            elif name in touched:
                self._hash(name, canonical(tensor), touched[name])
        return _combine(self._digests)

    def _hash(self, name: str, tensor: NDArray[np.generic], rows: Rows | None) -> None:
        if rows is None or tensor.ndim == 0 or tensor.size == 0:
            self._chunks[name] = _all_chunk_digests(tensor)
        else:
            indexes = _chunks_of_rows(tensor, rows)
            chunks = bytearray(self._chunks[name])
            for index, chunk in zip(indexes, _chunk_digests(tensor, indexes), strict=True):
                chunks[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES] = chunk
            self._chunks[name] = chunks
        self._digests[name] = _tensor_digest(name, tensor, self._chunks[name])


def _chunk_count(tensor: NDArray[np.generic]) -> int:
    return -(-tensor.nbytes // CHUNK_BYTES)


def _all_chunk_digests(tensor: NDArray[np.generic]) -> bytearray:
    """Return the digests of all chunks, one behind the other; there is never an object for each of a large tensor."""
    count, digests = _chunk_count(tensor), bytearray()
    for start in range(0, count, _CHUNKS_AT_ONCE):
        digests += b"".join(_chunk_digests(tensor, range(start, min(start + _CHUNKS_AT_ONCE, count))))
    return digests


def _chunk_digests(tensor: NDArray[np.generic], indexes: Iterable[int]) -> list[bytes]:
    data = tensor.reshape(-1).view(np.uint8).data
    return [hashlib.sha256(data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]).digest() for i in indexes]


def _chunks_of_rows(tensor: NDArray[np.generic], rows: Rows) -> list[int]:
    """Return the chunks that hold any byte of the given rows; a row may span several."""
    if rows.size and (rows.min() < 0 or rows.max() >= tensor.shape[0]):
        raise ValueError(f"touched rows must lie in [0, {tensor.shape[0]})")
    row_bytes = tensor.nbytes // tensor.shape[0]
    first = rows * row_bytes // CHUNK_BYTES
    last = (rows * row_bytes + row_bytes - 1) // CHUNK_BYTES
    marks = np.zeros(_chunk_count(tensor) + 1, np.int64)
    np.add.at(marks, first, 1)
    np.add.at(marks, last + 1, -1)
    indexes: list[int] = np.flatnonzero(np.cumsum(marks[:-1])).tolist()
    return indexes


def _tensor_digest(name: str, tensor: NDArray[np.generic], chunks: bytes | bytearray) -> bytes:
    shape = struct.pack(f"<I{tensor.ndim}Q", tensor.ndim, *tensor.shape)
    head = b"rheostat-tensor/1\0" + _text(name) + _text(dtype_name(tensor.dtype)) + shape
    digest = hashlib.sha256(head)
    digest.update(chunks)
    return digest.digest()


def _combine(digests: Mapping[str, bytes]) -> str:
    parts = sorted((name.encode(), digest) for name, digest in digests.items())
    body = b"".join(struct.pack("<I", len(name)) + name + digest for name, digest in parts)
    return hashlib.sha256(b"rheostat-tensors/1\0" + struct.pack("<I", len(parts)) + body).hexdigest()


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data
