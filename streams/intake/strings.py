"""What lies under a column of strings: their bytes and lengths, as numpy sees them without a copy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int32]


def offsets_of(column: pa.StringArray) -> Ints:
    """Return where each string begins and the last one ends, int32 (len(column) + 1,). A null takes no bytes."""
    if not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, 4 * column.offset)


def lengths_of(column: pa.StringArray) -> Ints:
    """Return the length of every string in bytes, 0 for a null."""
    offsets = offsets_of(column)
    return np.asarray(offsets[1:] - offsets[:-1])


def bytes_of(column: pa.StringArray) -> NDArray[np.uint8]:
    """Return the bytes that the offsets point into."""
    data = column.buffers()[2]
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
