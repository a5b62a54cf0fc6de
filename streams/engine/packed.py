"""Records of which only values and times are wanted, as arrays: no Python object is made of any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.engine.block import Block

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packed:
    """One run of a partition's records.

    data: the values, one behind the other. ends: where in it each one ends; a record without a value takes no room.
    timestamps_ms: event times.
    """

    data: Bytes
    ends: Longs
    timestamps_ms: Longs

    def __len__(self) -> int:
        return len(self.ends)

    def values(self) -> list[bytes]:
        """Return the values one by one, for what decodes them."""
        data, ends = self.data.tobytes(), self.ends.tolist()
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def rows(self, first: int, end: int) -> Packed:
        """Return some neighbouring rows; nothing is copied but their ends."""
        begin = int(self.ends[first - 1]) if first else 0
        ends = self.ends[first:end]
        last = int(ends[-1]) if len(ends) else begin
        return Packed(self.data[begin:last], ends - begin, self.timestamps_ms[first:end])


def packed(block: Block) -> Packed:
    """Return the values and times of a block."""
    values = [value or b"" for value in block.values]
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    return Packed(np.frombuffer(b"".join(values), np.uint8), ends, np.asarray(block.timestamps_ms, np.int64))


def since(runs: Iterable[Packed], since_ms: int | None) -> Iterator[Packed]:
    """Drop the leading records before a time, as `trim.skip_older` does from blocks."""
    for run in runs:
        if since_ms is None:
            yield run
            continue
        found = np.flatnonzero(run.timestamps_ms >= since_ms)
        if len(found):
            since_ms = None
            yield run.rows(int(found[0]), len(run))
