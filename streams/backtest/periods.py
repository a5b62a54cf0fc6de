"""Time cut into periods: hours, days or weeks of event time (UTC), or a number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.errors import ConfigError

UNITS_MS: Mapping[str, int] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}
PERIODS_WANTED = 40
_MONDAY_MS = 4 * 86_400_000
"""The first Monday of 1970; weeks begin on Mondays."""


@dataclass(frozen=True, slots=True)
class Periods:
    """How to cut: `length` is in ms of event time, or in rows where `unit` is "row"."""

    unit: str
    length: int

    def codes(self, times_ms: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the period of each row, given its time and its place in the order of time."""
        if self.unit == "row":
            return rows // self.length
        return (times_ms - self._begin_ms) // self.length

    def name(self, code: int) -> str:
        """Return a period in words: its first row (counted from 1) or its first moment."""
        if self.unit == "row":
            return f"row {code * self.length + 1:,}"
        begin = datetime.fromtimestamp((code * self.length + self._begin_ms) / 1_000, UTC)
        return begin.strftime("%Y-%m-%d" if self.length >= UNITS_MS["day"] else "%Y-%m-%d %H:%M")

    @property
    def _begin_ms(self) -> int:
        return _MONDAY_MS if self.unit == "week" else 0


def periods_of(text: str | None, times_ms: NDArray[np.int64], *, row_time: bool) -> Periods:
    """Return what `text` says: minute, hour, day, week, or a number of rows; None: what gives about 40 periods.

    row_time: times are but the numbers of rows. Raises ConfigError.
    """
    if text is None:
        span = int(times_ms[-1] - times_ms[0])
        unit = next((name for name, length in UNITS_MS.items() if span <= PERIODS_WANTED * length), None)
        if row_time or unit is None or span < UNITS_MS["minute"]:
            return Periods("row", _round(-(-len(times_ms) // PERIODS_WANTED)))
        return Periods(unit, UNITS_MS[unit])
    if text in UNITS_MS and not row_time:
        return Periods(text, UNITS_MS[text])
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return Periods("row", int(text))
    allowed = "a number of rows" if row_time else f"{', '.join(UNITS_MS)}, or a number of rows"
    raise ConfigError(f"--period {text!r}: must be {allowed}")


def _round(rows: int) -> int:
    """Return the next number of rows of the form 1, 2 or 5 times a power of ten."""
    power = int(10 ** (len(str(rows)) - 1))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rows)
