"""Named tensors as bytes and back: the safetensors format, reproducible, checked before anything is built.

    u64 header length | header: JSON {name: {"dtype", "shape", "data_offsets"}} | tensor bytes, without gaps

Reading is done here rather than by a library, so that every number in the header is checked against the limits
and against each other before memory is taken for it. Nothing in a file can name code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DTYPES, canonical

HEADER_BYTES_MAX = 4 * 1024 * 1024
NAME_CHARS_MAX = 256
AXES_MAX = 8


class TensorFileError(ValueError):
    """The bytes are not a tensor file that we accept; the text says which check failed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    end: int


def dump(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the tensors as a file; equal tensors give equal bytes, whatever their order in the mapping.

    metadata: at most one key, because the order of several is random in the format's writer. An empty
    mapping of tensors is allowed. Raises ValueError for a dtype, name or metadata that `load` would refuse.
    """
    if metadata is not None and len(metadata) > 1:
        raise ValueError(f"at most one metadata key, got {sorted(metadata)}")
    for name in tensors:
        _check_name(name)
    ordered = {name: canonical(tensors[name]) for name in sorted(tensors)}
    return save(ordered, metadata=None if metadata is None else dict(metadata))


def load(data: bytes, bytes_max: int, tensors_max: int) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a file, as writable copies.

    Raises TensorFileError, before any array is built, if the file is longer than `bytes_max`, holds more than
    `tensors_max` tensors, or has an unknown dtype, a size that does not fit its shape, or a gap or overlap.
    """
    if len(data) > bytes_max:
        raise TensorFileError(f"{len(data)} bytes are more than the limit of {bytes_max}")
    header, body_start = _header(data)
    if len(header) - ("__metadata__" in header) > tensors_max:
        raise TensorFileError(f"{len(header)} tensors are more than the limit of {tensors_max}")
    _check_metadata(header.pop("__metadata__", None))
    entries = [_entry(name, value) for name, value in header.items()]
    _check_cover(entries, len(data) - body_start)
    return {entry.name: _array(entry, data, body_start) for entry in entries}


def _header(data: bytes) -> tuple[dict[str, object], int]:
    if len(data) < 8:
        raise TensorFileError(f"{len(data)} bytes are too short for a header")
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_BYTES_MAX or 8 + length > len(data):
        raise TensorFileError(f"header length {length} does not fit into the file or the limit")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise TensorFileError("header is not a JSON object")
    return header, 8 + length


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


def _check_cover(entries: list[_Entry], body_bytes: int) -> None:
    """Require that the tensors lie one after another and fill the body exactly."""
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise TensorFileError(f"tensor {entry.name!r}: starts at {entry.start}, expected {position}")
        position = entry.end
    if position != body_bytes:
        raise TensorFileError(f"tensors end at {position}, the file at {body_bytes}")


def _array(entry: _Entry, data: bytes, body_start: int) -> NDArray[np.generic]:
    raw = np.frombuffer(data, np.uint8, entry.end - entry.start, body_start + entry.start)
    if entry.dtype == np.bool_ and np.any(raw > 1):
        raise TensorFileError(f"tensor {entry.name!r}: a truth value is neither 0 nor 1")
    return raw.copy().view(entry.dtype).reshape(entry.shape)
