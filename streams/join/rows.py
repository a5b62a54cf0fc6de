"""Rows that wait: Arrow batches in arrival order, each row found by its serial number, freed when it is done.

Rows are never moved one by one. A chunk is freed when its last row is dropped; small neighbours are merged, so that
many small blocks cost no more memory than few large ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Serials = NDArray[np.int64]
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]
CHUNK_ROWS = 16_384


@dataclass(slots=True)
class _Chunk:
    """Rows with serials start, start + 1, …; `waiting` ones are still in use."""

    start: int
    batch: pa.RecordBatch
    keys: NDArray[np.object_]
    times: Times
    waiting: Mask
    marked: Mask
    left: int
    oldest: int

    @property
    def end(self) -> int:
        return self.start + len(self.times)


class Rows:
    """Waiting rows of one schema. Times are event times in ms; a row can be marked once."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._chunks: list[_Chunk] = []
        self._next = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    @property
    def held(self) -> int:
        """Rows in memory, the dropped ones of half-used chunks included."""
        return sum(len(chunk.times) for chunk in self._chunks)

    def append(self, batch: pa.RecordBatch, keys: NDArray[np.object_], times: Times) -> Serials:
        """Add rows and return their serials."""
        count = len(times)
        start, self._next = self._next, self._next + count
        if count:
            waiting, marked = np.ones(count, np.bool_), np.zeros(count, np.bool_)
            self._chunks.append(_Chunk(start, batch, keys, times, waiting, marked, count, int(times.min())))
            self._waiting += count
            self._merge()
        return np.arange(start, start + count)

    def take(self, serials: Serials) -> pa.RecordBatch:
        """Gather rows, in the order of `serials` (rows may repeat)."""
        parts, places = [], []
        for chunk, local, place in self._split(serials):
            parts.append(chunk.batch.take(pa.array(local)))
            places.append(place)
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self._schema)
        if len(parts) == 1:
            return parts[0]
        order = np.empty(len(serials), np.int64)
        order[np.concatenate(places)] = np.arange(len(serials))
        return pa.concat_batches(parts).take(pa.array(order))

    def times(self, serials: Serials) -> Times:
        """Return the event times of rows."""
        found = np.empty(len(serials), np.int64)
        for chunk, local, place in self._split(serials):
            found[place] = chunk.times[local]
        return found

    def keys(self, serials: Serials) -> list[str]:
        """Return the keys of rows."""
        found = np.empty(len(serials), object)
        for chunk, local, place in self._split(serials):
            found[place] = chunk.keys[local]
        return list(found.tolist())

    def marked(self, serials: Serials) -> Mask:
        """Return which rows are marked."""
        found = np.empty(len(serials), np.bool_)
        for chunk, local, place in self._split(serials):
            found[place] = chunk.marked[local]
        return found

    def mark(self, serials: Serials) -> None:
        """Mark rows."""
        for chunk, local, _ in self._split(serials):
            chunk.marked[local] = True

    def drop(self, serials: Serials) -> None:
        """Forget rows that wait; each once."""
        for chunk, local, _ in self._split(serials):
            chunk.waiting[local] = False
            chunk.left -= len(local)
        self._waiting -= len(serials)
        self._chunks = [chunk for chunk in self._chunks if chunk.left]

    def through(self, horizon_ms: int) -> Serials:
        """Return the waiting rows whose time is at or before a moment, in arrival order."""
        found = [
            chunk.start + np.flatnonzero(chunk.waiting & (chunk.times <= horizon_ms))
            for chunk in self._chunks
            if chunk.oldest <= horizon_ms
        ]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def waiting(self) -> Serials:
        """Return all waiting rows, in arrival order."""
        found = [chunk.start + np.flatnonzero(chunk.waiting) for chunk in self._chunks]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def oldest(self, count: int) -> int:
        """Return the time of the `count`-th oldest waiting row (count from 1 to all)."""
        times = np.concatenate([chunk.times[chunk.waiting] for chunk in self._chunks])
        return int(np.partition(times, count - 1)[count - 1])

    def _split(self, serials: Serials) -> Iterator[tuple[_Chunk, Serials, Serials]]:
        """Yield for every chunk concerned its rows and their places in `serials`."""
        if not len(serials):
            return
        starts = [chunk.start for chunk in self._chunks]
        low, high = int(serials.min()), int(serials.max())
        first = bisect_right(starts, low) - 1
        if high < self._chunks[first].end:
            yield self._chunks[first], serials - starts[first], np.arange(len(serials))
            return
        of = np.searchsorted(np.array(starts), serials, side="right") - 1
        order = np.argsort(of, kind="stable")
        for place in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
            chunk = self._chunks[of[place[0]]]
            yield chunk, serials[place] - chunk.start, place

    def _merge(self) -> None:
        """Merge the newest chunk with its neighbours while they are no larger than it."""
        while len(self._chunks) > 1:
            older, newer = self._chunks[-2:]
            together = len(older.times) + len(newer.times)
            if older.end != newer.start or len(older.times) > len(newer.times) * 2 or together > CHUNK_ROWS:
                return
            self._chunks[-2:] = [_merged(older, newer)]


def _merged(older: _Chunk, newer: _Chunk) -> _Chunk:
    return _Chunk(
        older.start,
        pa.concat_batches([older.batch, newer.batch]),
        np.concatenate([older.keys, newer.keys]),
        np.concatenate([older.times, newer.times]),
        np.concatenate([older.waiting, newer.waiting]),
        np.concatenate([older.marked, newer.marked]),
        older.left + newer.left,
        min(older.oldest, newer.oldest),
    )
