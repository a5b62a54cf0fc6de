"""Stamps some of the events with the time they are sent at, from where freshness is measured (`schemas/hops.py`)."""

from __future__ import annotations

from itertools import count

from rheostat.schemas import hops
from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.engine.block import Headers

EVERY = 100


class Stamps:
    """Stamps the first event and every so-many-th after it, none for 0. Safe to use from several threads.

    What is stamped is counted out, not chosen by time: of many events at once, as after a stall, as many are stamped
    as of the same number over an hour.
    """

    def __init__(self, every: int = EVERY, clock: Clock | None = None) -> None:
        if every < 0:
            raise ValueError(f"every: {every} is below 0; 0 stamps nothing, 1 every event")
        self._every = every
        self._clock = clock or WallClock()
        self._sent = count()

    def headers(self) -> Headers:
        """Return the headers of the next event: a stamp, or nothing."""
        if not self._every or next(self._sent) % self._every:
            return []
        return [(hops.HEADER, hops.write(hops.Trail(self._clock.now_ms())))]
