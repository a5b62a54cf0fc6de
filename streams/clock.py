"""Time as an argument: the wall clock for processes, a hand-moved one for tests and simulations."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since the Unix epoch."""

    def now_ms(self) -> int:
        """Return the present time."""
        ...


class WallClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return the present time."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told; it never goes back."""

    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time last set."""
        return self._now_ms

    def advance(self, ms: int) -> int:
        """Move forward by `ms` (not negative) and return the new time."""
        if ms < 0:
            raise ValueError(f"a clock does not go back: advance({ms})")
        self._now_ms += ms
        return self._now_ms
