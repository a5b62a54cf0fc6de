"""Headers of records as arrays: few are ever looked at, and no Python object is made of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.engine.block import Headers

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


class PackedHeaders(Sequence[Headers | None]):
    """The headers of some records, one behind the other, each its name and then its value."""

    def __init__(self, data: Bytes, bounds: Longs, counts: Longs) -> None:
        """Take the bytes; where the first name begins and then each name and each value ends; headers a record."""
        self._data = data
        self._bounds = bounds
        self._counts = counts
        self._begins = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self._counts)

    @overload
    def __getitem__(self, index: int) -> Headers | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Headers | None]: ...
    def __getitem__(self, index: int | slice) -> Headers | Sequence[Headers | None] | None:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            return self.rows(first, end) if step == 1 else [self[row] for row in range(first, end, step)]
        first = 2 * int(self._begins[index])
        bounds = self._bounds[first : first + 2 * int(self._counts[index]) + 1].tolist()
        parts = [self._data[start:stop].tobytes() for start, stop in pairwise(bounds)]
        return [
            (name.decode(errors="replace"), value) for name, value in zip(parts[::2], parts[1::2], strict=True)
        ] or None

    def rows(self, first: int, end: int) -> Self:
        """Return those of some neighbouring records; nothing is copied."""
        counts = self._counts[first:end]
        begin = 2 * int(self._begins[first]) if len(counts) else 0
        return type(self)(self._data, self._bounds[begin : begin + 2 * int(counts.sum()) + 1], counts)

    def named(self, name: str) -> list[bytes]:
        """Return the values of all headers of a name, which is not empty, in order."""
        whole, wanted, bounds = self._data.tobytes(), name.encode(), self._bounds
        found = []
        at = whole.find(wanted, int(bounds[0]), int(bounds[-1]))
        while at >= 0:
            # Of all parts that begin here, the last one is not empty.
            part = int(bounds.searchsorted(at, "right")) - 1
            if part % 2 == 0 and bounds[part] == at and bounds[part + 1] == at + len(wanted):
                found.append(whole[bounds[part + 1] : bounds[part + 2]])
            at = whole.find(wanted, at + 1, int(bounds[-1]))
        return found

    @classmethod
    def none(cls, records: int) -> Self:
        """Return those of records that have none."""
        return cls(np.empty(0, np.uint8), np.zeros(1, np.int64), np.zeros(records, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[PackedHeaders]) -> Self:
        """Return several, at least one, as one."""
        lengths = np.concatenate([np.diff(part._bounds) for part in parts])
        return cls(
            np.concatenate([part._data[part._bounds[0] : part._bounds[-1]] for part in parts]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.concatenate([part._counts for part in parts]),
        )


def named(headers: Iterable[Sequence[Headers | None] | None], name: str) -> list[bytes]:
    """Return the values of all headers of a name in several blocks' `headers`, in order."""
    return list(chain.from_iterable(_named(each, name) for each in headers if each is not None))


def _named(headers: Sequence[Headers | None], name: str) -> list[bytes]:
    if isinstance(headers, PackedHeaders):
        return headers.named(name)
    return [value for own in headers if own for each, value in own if each == name]
