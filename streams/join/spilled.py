"""The values of what waits that are on disk, in segments: one file each, filled in order of arrival, never changed.

A segment goes as a whole once none of its values waits any more. Rows leave by age, so mostly that is the order in
which they came. Where it is not (some are dated a year ahead, and those around them long gone), the caller moves what
is left of a `sparse` segment to the end. So all files together hold at most twice what waits, and two of the smallest.
A new segment gets an eighth of all: there are a few dozen files, however much waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import INTS, LONGS, compiled
from rheostat.streams.errors import NoRoom
from rheostat.streams.join.scratch import Scratch, scratch_folder
from rheostat.streams.join.settings import Spill

SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX = 1 << 20, 1 << 30
GAP_BYTES_MAX, READ_BYTES_MAX = 16_384, 1 << 20
"""Up to how far apart values are read together, with what lies between them; and about how much at once."""

_OFFSET_BITS = 32
_OFFSETS = (1 << _OFFSET_BITS) - 1
_ROWS, _BYTES = 0, 1
_MATRIX = types.int64[:, ::1]

Places = NDArray[np.int64]
Lengths = NDArray[np.int32]


class Spilled:
    """Values on disk, each found by its place and its length.

    A place is the number of a segment and an offset in it; none is below 0. bytes: how large the files are.
    """

    def __init__(self, spill: Spill) -> None:
        self._bytes_max = spill.bytes_max
        self._folder: Path = scratch_folder(spill.folder)
        self._segments: dict[int, Scratch] = {}
        self._free: list[int] = []
        self._filled: int | None = None
        self._room = 0
        self._live = np.zeros((0, 2), np.int64)
        self._live_bytes = 0
        self._count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def append(self, values: Sequence[bytes], lengths: Lengths) -> Places:
        """Write values and return their places. Raises NoRoom when they cannot be written."""
        if not values:
            return np.empty(0, np.int64)
        data = b"".join(values)
        if self.bytes + len(data) > self._bytes_max:
            raise NoRoom(
                f"{self.bytes} bytes of what waits in the join are on disk, and join.spill_bytes_max allows "
                f"{self._bytes_max}. Raise it, or lower join.waiting_predictions_max; nothing is lost"
            )
        number = self._with_room(len(data))
        start = self._segments[number].append(data)
        self._room -= len(data)
        self._live[number] += len(values), len(data)
        self._live_bytes += len(data)
        self._count += len(values)
        self.bytes += len(data)
        return (number << _OFFSET_BITS) + start + np.cumsum(lengths, dtype=np.int64) - lengths

    def read(self, places: Places, lengths: Lengths) -> list[bytes]:
        """Return values, in the order asked for, which may name one again. Neighbours cost one read."""
        if not len(places):
            return []
        order = np.argsort(places, kind="stable")
        starts = places[order]
        ends = starts + lengths[order]
        runs = _runs(starts, ends)
        firsts, lasts = starts[runs], np.maximum.reduceat(ends, runs)
        base = np.repeat(firsts, np.diff(runs, append=len(starts)))
        begins, stops = (starts - base).tolist(), (ends - base).tolist()
        bounds = pairwise([*runs.tolist(), len(starts)])
        values: list[bytes] = []
        for (run, after), first, size in zip(bounds, firsts.tolist(), (lasts - firsts).tolist(), strict=True):
            data = self._segments[first >> _OFFSET_BITS].read(first & _OFFSETS, size)
            values += [data[begin:stop] for begin, stop in zip(begins[run:after], stops[run:after], strict=True)]
        in_order = np.empty(len(places), object)
        in_order[order] = values
        found: list[bytes] = in_order.tolist()
        return found

    def release(self, places: Places, lengths: Lengths) -> None:
        """Give up values, each once."""
        released, emptied = _release(places, lengths, self._live)
        self._live_bytes -= released
        self._count -= len(places)
        if emptied:
            for number in [each for each in self._segments if not self._live[each, _ROWS]]:
                self._vacate(number)

    def sparse(self) -> int | None:
        """Return a segment whose values should be moved, by appending them and releasing them here; None: no need."""
        if self.bytes <= 2 * (self._live_bytes + SEGMENT_BYTES_MIN):
            return None
        number = min(self._segments, key=self._share)
        if number == self._filled:
            self._filled = None
        return number

    def _share(self, number: int) -> float:
        """Return how much of a segment waits."""
        used = self._segments[number].bytes
        return float(self._live[number, _BYTES]) / used if used else 1.0

    def _with_room(self, size: int) -> int:
        """Return the segment that is being filled, another one where it has no room for this many bytes."""
        if self._filled is not None and self._room >= size:
            return self._filled
        if not self._free:
            self._free.append(len(self._live))
            self._live = np.concatenate([self._live, np.zeros((1, 2), np.int64)])
        number = self._filled = self._free.pop()
        self._segments[number] = Scratch(self._folder)
        self._room = max(size, SEGMENT_BYTES_MIN, min(self._live_bytes // 8, SEGMENT_BYTES_MAX))
        return number

    def _vacate(self, number: int) -> None:
        """Let a segment go; nothing in it waits."""
        scratch = self._segments.pop(number)
        self.bytes -= scratch.bytes
        scratch.close()
        self._free.append(number)
        if number == self._filled:
            self._filled = None


def _runs(starts: Places, ends: Places) -> NDArray[np.int64]:
    """Return where runs of values begin that lie near enough to each other to be read together; starts must ascend."""
    apart = starts[1:] - ends[:-1] > GAP_BYTES_MAX  # as those in two segments are
    apart |= starts[1:] // READ_BYTES_MAX != starts[:-1] // READ_BYTES_MAX
    return np.flatnonzero(np.append(True, apart))


def segment_of(places: Places) -> NDArray[np.int64]:
    """Return the numbers of the segments of places; something below 0 for what is below 0."""
    return places >> _OFFSET_BITS


@compiled(types.UniTuple(types.int64, 2)(LONGS, INTS, _MATRIX))  # type: ignore[no-untyped-call]
def _release(places: Places, lengths: Lengths, live: NDArray[np.int64]) -> tuple[int, int]:
    """Count values out of their segments; return their bytes, and how many segments have none left."""
    released, emptied = 0, 0
    for row in range(len(places)):
        number = places[row] >> _OFFSET_BITS
        live[number, _ROWS] -= 1
        live[number, _BYTES] -= lengths[row]
        released += lengths[row]
        emptied += live[number, _ROWS] == 0
    return released, emptied
