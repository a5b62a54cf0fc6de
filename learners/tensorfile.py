"""Named tensors as bytes and back: the safetensors format, reproducible, checked before anything is built.

    u64 header length | header: JSON {name: {"dtype", "shape", "data_offsets"}} | tensor bytes, without gaps

Reading is done here rather than by a library, so that every number in the header is checked against the limits
and against each other before memory is taken for it. Nothing in a file can name code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DTYPES, canonical, dtype_name
from rheostat.learners.pieces import Pieces

HEADER_BYTES_MAX = 4 * 1024 * 1024
NAME_CHARS_MAX = 256
AXES_MAX = 8
_ALIGNMENT = 8
_ORDER = ("U64", "I64", "F64", "F32", "U32", "I32", "F16", "U16", "I16", "I8", "U8", "BOOL")
"""Larger types first, so that every tensor lies at a multiple of its element's size."""


class TensorFileError(ValueError):
    """The bytes are not a tensor file that we accept; the text says which check failed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A file that is not written yet: its parts, which are the tensors' own memory, and how many bytes they have."""

    parts: tuple[memoryview, ...]
    size: int

    def sha256(self) -> str:
        """Return the digest of the whole file, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part)
        return digest.hexdigest()

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of the file; what lies behind its end is left out."""
        return b"".join(self.views(start, end))

    def views(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield these bytes where they lie, one part after the other."""
        at = 0
        for part in self.parts:
            if at < end and start < at + len(part):
                yield part[max(0, start - at) : end - at]
            at += len(part)


def lay_out(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Layout:
    """Return the tensors as a file of which nothing is copied: they must not change before it is written.

    Equal tensors give equal bytes, whatever their order in the mapping: larger types come first, then names in order,
    and no member of the header is left to a library. metadata: at most one key. No tensors at all are allowed. Raises
    ValueError for a dtype, name or metadata that `load` would refuse.
    """
    if metadata is not None and len(metadata) > 1:
        raise ValueError(f"at most one metadata key, got {sorted(metadata)}")
    for name in tensors:
        _check_name(name)
    ordered = sorted(tensors.items(), key=lambda item: (_ORDER.index(dtype_name(item[1].dtype)), item[0]))
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    parts, end = [], 0
    for name, tensor in ordered:
        whole = canonical(tensor)
        start, end = end, end + whole.nbytes
        header[name] = {"dtype": dtype_name(whole.dtype), "shape": list(whole.shape), "data_offsets": [start, end]}
        parts.append(whole.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return Layout((memoryview(len(text).to_bytes(8, "little") + text), *parts), 8 + len(text) + end)


def dump(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file that `lay_out` describes."""
    return b"".join(lay_out(tensors, metadata).parts)


def load(data: bytes, bytes_max: int, tensors_max: int) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a file, as writable copies. Raises as `load_pieces` does."""
    return load_pieces(Pieces.of(data), bytes_max, tensors_max)


def load_pieces(data: Pieces, bytes_max: int, tensors_max: int) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a file, as writable copies; each piece is given up once it is copied.

    Raises TensorFileError, before any array is built, if the file is longer than `bytes_max`, holds more than
    `tensors_max` tensors, or has an unknown dtype, a size that does not fit its shape, or a gap or overlap.
    """
    if len(data) > bytes_max:
        raise TensorFileError(f"{len(data)} bytes are more than the limit of {bytes_max}")
    header = _header(data)
    if len(header) - ("__metadata__" in header) > tensors_max:
        raise TensorFileError(f"{len(header)} tensors are more than the limit of {tensors_max}")
    _check_metadata(header.pop("__metadata__", None))
    entries = [_entry(name, value) for name, value in header.items()]
    ordered = _covering(entries, len(data))
    arrays = {entry.name: _array(entry, data) for entry in ordered}
    return {entry.name: arrays[entry.name] for entry in entries}


def _header(data: Pieces) -> dict[str, object]:
    if len(data) < 8:
        raise TensorFileError(f"{len(data)} bytes are too short for a header")
    length = int.from_bytes(_taken(data, 8), "little")
    if length > HEADER_BYTES_MAX or length > len(data):
        raise TensorFileError(f"header length {length} does not fit into the file or the limit")
    try:
        header = json.loads(_taken(data, length).decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise TensorFileError("header is not a JSON object")
    return header


def _taken(data: Pieces, count: int) -> bytes:
    taken = np.empty(count, np.uint8)
    data.take(taken)
    return taken.tobytes()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number here")


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    texts = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if not texts or len(cast("dict[str, str]", metadata)) > 1:
        raise TensorFileError("metadata must hold at most one key, with a text value")


def _check_name(name: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX or name == "__metadata__" or not name.isprintable():
        raise TensorFileError(f"tensor name of {len(name)} characters is empty, too long, reserved or unprintable")


def _entry(name: str, value: object) -> _Entry:
    _check_name(name)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise TensorFileError(f"tensor {name!r}: wrong fields in the header")
    code = value["dtype"]
    dtype = DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise TensorFileError(f"tensor {name!r}: dtype is not one of {', '.join(DTYPES)}")
    shape = _naturals(name, value["shape"])
    offsets = _naturals(name, value["data_offsets"])
    if len(shape) > AXES_MAX or len(offsets) != 2:
        raise TensorFileError(f"tensor {name!r}: more than {AXES_MAX} axes, or not two offsets")
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise TensorFileError(f"tensor {name!r}: {offsets[1] - offsets[0]} bytes do not fit shape {shape}")
    return _Entry(name, dtype, shape, offsets[0], offsets[1])


def _naturals(name: str, value: object) -> tuple[int, ...]:
    """Accept a list of integers in [0, 2**53); JSON true and 1.0 are not integers here."""
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 2**53 for item in value):
        raise TensorFileError(f"tensor {name!r}: shape and offsets must be lists of natural numbers")
    return tuple(value)


def _covering(entries: list[_Entry], body_bytes: int) -> list[_Entry]:
    """Return the tensors as they lie, which must be one after another, filling the body exactly."""
    ordered = sorted(entries, key=lambda entry: (entry.start, entry.end))
    position = 0
    for entry in ordered:
        if entry.start != position:
            raise TensorFileError(f"tensor {entry.name!r}: starts at {entry.start}, expected {position}")
        position = entry.end
    if position != body_bytes:
        raise TensorFileError(f"tensors end at {position}, the file at {body_bytes}")
    return ordered


def _array(entry: _Entry, data: Pieces) -> NDArray[np.generic]:
    # The tensor owns its memory: nobody could tell who else has a view of what is one itself.
    tensor = np.empty(entry.shape, entry.dtype)
    raw = tensor.reshape(-1).view(np.uint8)
    data.take(raw)
    if entry.dtype == np.bool_ and np.any(raw > 1):
        raise TensorFileError(f"tensor {entry.name!r}: a truth value is neither 0 nor 1")
    return tensor
