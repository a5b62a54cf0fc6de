"""How far event time has come, in ticks, told by the rows themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

UNKNOWN_MS = 0
"""The time of a row whose time is not known: it does not move the clock."""


class EventClock:
    """Counts ticks of `tick_ms` of event time. One row moves it by one tick at most, and none moves it back.

    So a row with a wrong time costs a tick and no more, and after a long silence the clock catches up within as many
    rows as ticks have passed. `tick` is None until a row with a time was seen.
    """

    def __init__(self, tick_ms: int) -> None:
        if tick_ms < 1:
            raise ValueError(f"tick_ms must be at least 1, got {tick_ms}")
        self.tick_ms = tick_ms
        self.tick: int | None = None

    def ticks(self, times_ms: NDArray[np.int64]) -> Iterator[int]:
        """Yield, rising, the row before which each tick passes; `tick` has been moved by then."""
        start = 0
        if self.tick is None:
            known = np.flatnonzero(times_ms > UNKNOWN_MS)
            if not len(known):
                return
            start = int(known[0]) + 1
            self.tick = int(times_ms[start - 1]) // self.tick_ms
        while True:
            later = np.flatnonzero(times_ms[start:] >= (self.tick + 1) * self.tick_ms)
            if not len(later):
                return
            start += int(later[0])
            self.tick += 1
            yield start
            start += 1
