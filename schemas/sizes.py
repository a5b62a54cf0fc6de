"""How many bytes Arrow columns take as canonical Avro, without encoding them.

No record takes fewer bytes on the wire than its canonical form. So a block whose values are as long as the
canonical forms together has no record with trailing bytes, and none with overlong or wrapped numbers. The one
exception is a number of ten bytes, the most there are: six bits of the tenth are lost, and length proves nothing.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# A zigzag varint takes one more byte from each of these magnitudes on: 2**6, 2**13, ... 2**55; ten from 2**62.
_STEPS = [1 << bits for bits in range(6, 62, 7)]
_TEN_BYTES = 1 << 62


class TenByteNumberError(ValueError):
    """The column has a number whose bytes its length does not prove canonical."""


def canonical_bytes(avro: object, column: pa.Array) -> int:
    """Return the size of a column's values under an Avro type; supports what blocks support.

    Raises TenByteNumberError for integers of magnitude 2**62 or more.
    """
    if isinstance(avro, list):
        return _optional_bytes(avro, column)
    if isinstance(avro, dict):
        return _nested_bytes(avro, column)
    if avro in ("int", "long"):
        return varint_bytes(_integers(column))
    if avro in ("double", "float", "boolean"):
        return len(column) * {"double": 8, "float": 4, "boolean": 1}[str(avro)]
    if avro == "string":
        offsets = _offsets(column)
        return int(offsets[-1] - offsets[0]) + _magnitude_bytes(offsets[1:] - offsets[:-1])
    raise TypeError(f"no block form for Avro type {avro!r}")


def varint_bytes(values: NDArray[np.signedinteger]) -> int:
    """Return the size of integers as zigzag varints: |n| with its sign folded in, seven bits a byte."""
    return _magnitude_bytes(values ^ (values >> (values.itemsize * 8 - 1)))  # n for n >= 0, -n - 1 below


def _magnitude_bytes(magnitudes: NDArray[np.signedinteger]) -> int:
    if not len(magnitudes):
        return 0
    largest = int(magnitudes.max())
    if largest >= _TEN_BYTES:
        raise TenByteNumberError
    reached = bisect_right(_STEPS, largest)
    # Lengths and times mostly take equally many bytes; only steps that lie among the magnitudes are counted.
    common = bisect_right(_STEPS, int(magnitudes.min())) if reached else 0
    some = sum(int(np.count_nonzero(magnitudes >= step)) for step in _STEPS[common:reached])
    return len(magnitudes) * (1 + common) + some


def _optional_bytes(avro: list[object], column: pa.Array) -> int:
    inner = next(branch for branch in avro if branch != "null")
    if not column.null_count:
        return len(column) + canonical_bytes(inner, column)
    present = column.drop_null()
    return len(column) + (canonical_bytes(inner, present) if len(present) else 0)


def _nested_bytes(avro: dict[str, object], column: pa.Array) -> int:
    kind = avro["type"]
    if kind == "array":
        offsets = _offsets(column)
        counts = offsets[1:] - offsets[:-1]
        filled = counts[counts > 0]
        # Count, items, and a zero that ends the array; an empty array is the zero alone.
        return len(counts) + varint_bytes(filled) + canonical_bytes(avro["items"], column.flatten())
    if kind == "record":
        fields = avro["fields"]
        assert isinstance(fields, list)
        return sum(canonical_bytes(field["type"], column.field(i)) for i, field in enumerate(fields))
    if kind == "enum":
        symbols = avro["symbols"]
        assert isinstance(symbols, list)
        return varint_bytes(pc.index_in(column, value_set=pa.array(symbols)).to_numpy(zero_copy_only=False))
    return canonical_bytes(kind, column)


def _integers(column: pa.Array) -> NDArray[np.signedinteger]:
    width = np.int32 if column.type.bit_width == 32 else np.int64
    return np.frombuffer(column.buffers()[1], width, len(column), column.offset * np.dtype(width).itemsize)


def _offsets(column: pa.Array) -> NDArray[np.int32]:
    if not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
