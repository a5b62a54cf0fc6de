"""Records as arrays: no Python object is made of any of them unless it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.engine.block import Block

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


class PackedBytes(Sequence[bytes | None]):
    """Keys or values of a block as they came, one behind the other; all become objects when the first is asked for."""

    def __init__(self, data: Bytes, ends: Longs, absent: NDArray[np.bool_]) -> None:
        """Take the bytes, where in them each one ends, and which ones are None, which take no room."""
        self.data = data
        self.ends = ends
        self._absent = absent

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes | None]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes | None] | None:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step == 1:
                return self.rows(first, end)
        return self._objects[index]

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self._objects)

    def rows(self, first: int, end: int) -> PackedBytes:
        """Return some neighbouring rows; nothing is copied but their ends."""
        return PackedBytes(*_rows(self.data, self.ends, first, end), self._absent[first:end])

    @classmethod
    def joined(cls, parts: Sequence[PackedBytes]) -> PackedBytes:
        """Return several, at least one, as one."""
        starts = np.cumsum([0, *(len(part.data) for part in parts)])
        return cls(
            np.concatenate([part.data for part in parts]),
            np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=False)]),
            np.concatenate([part._absent for part in parts]),
        )

    @cached_property
    def _objects(self) -> list[bytes | None]:
        made: list[bytes | None] = list(_objects(self.data, self.ends))
        for row in np.flatnonzero(self._absent).tolist():
            made[row] = None
        return made


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
        return _objects(self.data, self.ends)

    def rows(self, first: int, end: int) -> Packed:
        """Return some neighbouring rows; nothing is copied but their ends."""
        return Packed(*_rows(self.data, self.ends, first, end), self.timestamps_ms[first:end])


def packed(block: Block) -> Packed:
    """Return the values and times of a block; values that came as arrays are not copied."""
    times_ms = np.asarray(block.timestamps_ms, np.int64)
    if isinstance(block.values, PackedBytes):
        return Packed(block.values.data, block.values.ends, times_ms)
    values = [value or b"" for value in block.values]
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    return Packed(np.frombuffer(b"".join(values), np.uint8), ends, times_ms)


def _objects(data: Bytes, ends: Longs) -> list[bytes]:
    whole, stops = data.tobytes(), ends.tolist()
    return [whole[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _rows(data: Bytes, ends: Longs, first: int, end: int) -> tuple[Bytes, Longs]:
    begin = int(ends[first - 1]) if first else 0
    kept = ends[first:end]
    last = int(kept[-1]) if len(kept) else begin
    return data[begin:last], kept - begin


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
