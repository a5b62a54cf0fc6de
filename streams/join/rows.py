"""Rows that wait: encoded records, found by the id they are about, and by their age.

A row has a slot, which another row gets when it is gone. Every row is in two doubly linked lists: that of the ids with
the same hash, and that of a span of time. The spans form a ring, as the days of a desk calendar do (R. Brown, Calendar
queues, CACM 31/10, 1988); one more list in the calendar has the free slots. All lists are in order of arrival.

What a row holds stays encoded, as it came, in memory or on disk; see `values`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.join.settings import Spill
from rheostat.streams.join.values import Values, longer

Slots = NDArray[np.int64]
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]
Table = NDArray[np.void]
Links = NDArray[np.int32]

NONE = -1
FOREVER = np.iinfo(np.int64).max
SLOTS_FIRST = 1_024

ROW = np.dtype([("low", "u8"), ("high", "u8"), ("time", "i8"), ("until", "i8"), ("answer", "i4")], align=True)
"""A row: its id, its event time (FOREVER in a free slot), up to when it may be joined, its answers (0: none)."""

TABLE = types.Array(numba.from_dtype(ROW), 1, "C")
_LINKS = types.Array(types.int32, 2, "C")
_SLOTS = types.int64[::1]
_FOUND = types.UniTuple(_SLOTS, 2)  # type: ignore[no-untyped-call]

# A node of a list is a pair: the node before it and the node after it. Heads have the first numbers, then the slots.
# There are as many chains as slots.
_BEFORE, _AFTER = 0, 1
_SPANS = 4_096
_FREE = _SPANS
_CALENDAR_HEADS = _SPANS + 1


class Rows:
    """Waiting rows. Times are event times in ms; most should lie within a few times `window_ms` of each other.

    `spill` says how many bytes of their values may be in memory.
    """

    def __init__(self, window_ms: int, spill: Spill | None = None) -> None:
        self.table: Table = np.empty(0, ROW)
        self._values = Values(spill or Spill())
        self._chains = _heads(0)
        self._calendar = _heads(_CALENDAR_HEADS)
        self._span_ms = max(1, 4 * window_ms // _SPANS)
        self._none_through_ms = 0
        self._count = 0
        self._fresh = 0  # slots from here on were never used, nor is their memory
        self._grow()

    def __len__(self) -> int:
        return self._count

    def add(
        self, ids: Fingerprints, times: Times, values: Sequence[bytes | None], untils: Times | None = None
    ) -> Slots:
        """Add rows and return their slots. Several rows may have one id. Without `untils` they are good for ever."""
        if not len(times):
            return np.empty(0, np.int64)
        if untils is None:
            untils = np.full(len(times), FOREVER)
        fresh, self._count = self._fresh, self._count + len(times)
        self._fresh = max(fresh, self._count)
        if self._count > len(self.table):
            self._grow()
        self._none_through_ms = min(self._none_through_ms, int(times.min()) - 1)
        slots: Slots = _insert(self.table, self._chains, self._calendar, *ids, times, untils, self._span_ms, fresh)
        self._values.put(slots, values)
        return slots

    def ids(self, slots: Slots) -> Fingerprints:
        """Return the ids of rows."""
        return Fingerprints(self.table["low"][slots], self.table["high"][slots])

    def times(self, slots: Slots) -> Times:
        """Return the event times of rows."""
        times: Times = self.table["time"][slots]
        return times

    def find(self, ids: Fingerprints) -> Slots:
        """Return the first row of each id, NONE where none waits."""
        slots: Slots = _find(self.table, self._chains, *ids)
        return slots

    def find_all(self, ids: Fingerprints) -> tuple[NDArray[np.int64], Slots]:
        """Return all rows of these ids, in the order of the ids, then of arrival: the index of the id, and the slot."""
        found: tuple[NDArray[np.int64], Slots] = _find_all(self.table, self._chains, *ids)
        return found

    def copies(self, added: Slots) -> Slots:
        """Return which rows must go so that the newest one of each id stays, of equally new ones the first.

        `added` came last, all that was there before them had ids of their own.
        """
        slots: Slots = _copies(self.table, self._chains, added)
        return slots

    def values(self, slots: Slots) -> list[bytes]:
        """Return what rows hold, in the order of `slots` (rows may repeat)."""
        return self._values.read(slots)

    def drop(self, slots: Slots) -> None:
        """Forget rows that wait; each once."""
        if len(slots):
            _remove(self.table, self._chains, self._calendar, slots)
            self._values.drop(slots)
            self._count -= len(slots)

    def through(self, horizon_ms: int) -> Slots:
        """Return the rows whose time is at or before a moment, the oldest first, then in order of arrival."""
        first = self._none_through_ms // self._span_ms
        spans = min(horizon_ms // self._span_ms - first + 1, _SPANS)
        due: Slots = _due(self.table, self._calendar, first, spans, horizon_ms)
        if not len(due):
            self._none_through_ms = max(horizon_ms, self._none_through_ms)
            return due
        due = due[np.argsort(self.times(due), kind="stable")]
        self._none_through_ms = int(self.table[due[0]]["time"]) - 1
        return due

    def between(self, after_ms: int, horizon_ms: int) -> Slots:
        """Return the rows whose time is after one moment and at or before another, in the order of `through`."""
        first = max(after_ms, 0) // self._span_ms
        spans = min(horizon_ms // self._span_ms - first + 1, _SPANS)
        due: Slots = _due(self.table, self._calendar, first, spans, horizon_ms)
        due = due[self.times(due) > after_ms]
        return due[np.argsort(self.times(due), kind="stable")]

    def oldest(self, count: int) -> int:
        """Return the time of the `count`-th oldest row (count from 1 to all)."""
        return int(np.partition(self.table["time"][: self._fresh], count - 1)[count - 1])

    @property
    def memory_bytes(self) -> int:
        """How many bytes of what rows hold are in memory."""
        return self._values.memory_bytes

    @property
    def disk_bytes(self) -> int:
        """How many bytes the files have in which the rest is."""
        return self._values.disk_bytes

    def _grow(self) -> None:
        size = max(SLOTS_FIRST, self._count, 3 * len(self.table) // 2)
        self.table = longer(self.table, size)
        self._values.resize(size)
        self._calendar = longer(self._calendar, _CALENDAR_HEADS + size)
        before, self._chains = self._chains, longer(_heads(size), 2 * size)
        _rebuild(self.table, before, self._chains)


def _heads(count: int) -> Links:
    """Return empty lists: a head comes before and after itself."""
    return np.repeat(np.arange(count, dtype=np.int32), 2).reshape(count, 2)


@compiled(types.void(_LINKS, types.int64, types.int64))
def _append(links: Links, head: int, node: int) -> None:
    last = links[head, _BEFORE]
    links[node, _BEFORE], links[node, _AFTER] = last, head
    links[last, _AFTER] = links[head, _BEFORE] = node


@compiled(types.void(_LINKS, types.int64))
def _unlink(links: Links, node: int) -> None:
    before, after = links[node, _BEFORE], links[node, _AFTER]
    links[before, _AFTER], links[after, _BEFORE] = after, before


@compiled(types.int64(TABLE, types.uint64))
def _chain(rows: Table, low: np.uint64) -> int:
    """Return the head of an id's chain."""
    return np.int64(low % np.uint64(len(rows)))  # type: ignore[return-value]


@compiled(types.int64(TABLE, _LINKS, types.int64, types.uint64, types.uint64))
def _next(rows: Table, chains: Links, node: int, low: np.uint64, high: np.uint64) -> int:
    """Return the slot of the first row behind `node` that has this id, NONE if there is none."""
    node = chains[node, _AFTER]
    while node >= len(rows) and (rows[node - len(rows)].low != low or rows[node - len(rows)].high != high):
        node = chains[node, _AFTER]
    return max(node - len(rows), NONE)


@compiled(_SLOTS(TABLE, _LINKS, _LINKS, WORDS, WORDS, LONGS, LONGS, types.int64, types.int64))
def _insert(
    rows: Table,
    chains: Links,
    calendar: Links,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    times: Times,
    untils: Times,
    span_ms: int,
    fresh: int,
) -> Slots:
    slots = np.empty(len(times), np.int64)
    for index in range(len(times)):
        node = calendar[_FREE, _AFTER]
        if node == _FREE:
            node, fresh = _CALENDAR_HEADS + fresh, fresh + 1
        else:
            _unlink(calendar, node)
        slots[index] = slot = node - _CALENDAR_HEADS
        row = rows[slot]
        row.low, row.high, row.time, row.until, row.answer = low[index], high[index], times[index], untils[index], 0
        _append(chains, _chain(rows, low[index]), len(rows) + slot)
        _append(calendar, times[index] // span_ms % _SPANS, node)
    return slots


@compiled(types.void(TABLE, _LINKS, _LINKS, LONGS))
def _remove(rows: Table, chains: Links, calendar: Links, slots: Slots) -> None:
    for slot in slots:
        rows[slot].time = FOREVER
        _unlink(chains, len(rows) + slot)
        _unlink(calendar, _CALENDAR_HEADS + slot)
        _append(calendar, _FREE, _CALENDAR_HEADS + slot)


@compiled(_SLOTS(TABLE, _LINKS, WORDS, WORDS))
def _find(rows: Table, chains: Links, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> Slots:
    slots = np.empty(len(low), np.int64)
    for index in range(len(low)):
        slots[index] = _next(rows, chains, _chain(rows, low[index]), low[index], high[index])
    return slots


@compiled(_FOUND(TABLE, _LINKS, WORDS, WORDS))
def _find_all(
    rows: Table, chains: Links, low: NDArray[np.uint64], high: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], Slots]:
    indexes, slots, count = np.empty(64, np.int64), np.empty(64, np.int64), 0
    for index in range(len(low)):
        slot = _next(rows, chains, _chain(rows, low[index]), low[index], high[index])
        while slot != NONE:
            if count == len(slots):
                indexes, slots = np.append(indexes, indexes), np.append(slots, slots)
            indexes[count], slots[count] = index, slot
            count += 1
            slot = _next(rows, chains, len(rows) + slot, low[index], high[index])
    return indexes[:count], slots[:count]


@compiled(_SLOTS(TABLE, _LINKS, LONGS))
def _copies(rows: Table, chains: Links, added: Slots) -> Slots:
    copies, count = np.empty(len(added), np.int64), 0
    for slot in added:
        low, high = rows[slot].low, rows[slot].high
        head = _chain(rows, low)
        newest = at = _next(rows, chains, head, low, high)
        while at != NONE:
            last = at
            if rows[at].time > rows[newest].time:
                newest = at
            at = _next(rows, chains, len(rows) + at, low, high)
        if last != slot:
            continue  # until we come to the last row of this id
        at = _next(rows, chains, head, low, high)
        while at != NONE:
            if at != newest:
                copies[count] = at
                count += 1
            at = _next(rows, chains, len(rows) + at, low, high)
    return copies[:count]


@compiled(_SLOTS(TABLE, _LINKS, types.int64, types.int64, types.int64))
def _due(rows: Table, calendar: Links, first: int, spans: int, horizon_ms: int) -> Slots:
    due, count = np.empty(64, np.int64), 0
    for span in range(first, first + spans):
        head = span % _SPANS
        node = calendar[head, _AFTER]
        while node != head:
            if rows[node - _CALENDAR_HEADS].time <= horizon_ms:
                if count == len(due):
                    due = np.append(due, due)
                due[count] = node - _CALENDAR_HEADS
                count += 1
            node = calendar[node, _AFTER]
    return due[:count]


@compiled(types.void(TABLE, _LINKS, _LINKS))
def _rebuild(rows: Table, before: Links, chains: Links) -> None:
    """Put the rows into more chains."""
    old = len(before) // 2
    for head in range(old):
        node = before[head, _AFTER]
        while node != head:
            _append(chains, _chain(rows, rows[node - old].low), len(rows) + node - old)
            node = before[node, _AFTER]
