"""Puts the events of all partitions into the order of their times, as far as can be known yet.

Bursts are judged by event time, and partitions are read at different speeds: after a pause one may give a day before
another gives an hour. So an event waits until every partition of the ledger has given one that is as new. A partition
that gave nothing for a while is not waited for, and neither is anybody once too many wait. The time during which the
watch does not run is not silence: who was waited for before it is waited for afterwards.
Everything follows from what was read and when, so reading the same again in the same cuts gives the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.watch.rows import ACCEPTED, Rows, concatenated, read_rows

_NEVER_MS = np.iinfo(np.int64).min // 2


class Waiting:
    """Events that wait for those of other partitions."""

    def __init__(self, partitions: int, idle_ms: int, events_max: int) -> None:
        self._idle_ms = idle_ms
        self._events_max = events_max
        self._newest_ms = np.full(partitions, _NEVER_MS)
        self._heard_ms = np.full(partitions, _NEVER_MS)
        self._rows = read_rows([])

    def __len__(self) -> int:
        return len(self._rows)

    def tables(self) -> dict[str, NDArray[np.int64]]:
        """Return how far partitions are, as the arrays in use: to be kept, and to be filled again."""
        return {"newest_ms": self._newest_ms, "heard_ms": self._heard_ms}

    def rows(self) -> Rows:
        """Return what waits, in the order in which it came."""
        return self._rows

    def put_back(self, rows: Rows) -> None:
        """Let rows wait that waited before a restart."""
        self._rows = rows

    def take(self, rows: Rows, now_ms: int) -> Rows:
        """Take in rows; return those whose turn it is, in order."""
        if len(rows) and (self._heard_ms == _NEVER_MS).all():
            self._heard_ms[:] = now_ms
        accepted = rows.topics == ACCEPTED
        np.maximum.at(self._newest_ms, rows.partitions[accepted], rows.events.times_ms[accepted])
        self._heard_ms[rows.partitions[accepted]] = now_ms
        waiting = concatenated([self._rows, rows])
        order = np.argsort(waiting.events.times_ms, kind="stable")
        times = waiting.events.times_ms[order]
        awaited = now_ms - self._heard_ms < self._idle_ms
        count = len(times)
        if awaited.any():
            known = int(np.searchsorted(times, self._newest_ms[awaited].min(), "right"))
            count = max(known, count - self._events_max)
        self._rows = waiting.take(np.sort(order[count:]))
        return waiting.take(order[:count])
