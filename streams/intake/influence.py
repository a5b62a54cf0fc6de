"""How much one actor may weigh within an hour of event time, so that nobody teaches the models alone.

The first `weight_max` of an actor's weight in an hour count fully; an event that would go beyond it counts 0. The hour
is that of the event, but at the earliest the one before the hour of the watermark (the largest event time written so
far): so back-dated events share one allowance, and only two hours are ever kept.

What actors used up is counted approximately and never too low: a count-min sketch of two rows (G. Cormode and
S. Muthukrishnan, An improved data stream summary, J. Algorithms 55/1, 2005). So nobody exceeds the cap; an actor who
shares both slots with others has less of it, by about the weight of all actors in the hour over `SLOTS`.
An actor is a pseudonym. Anonymous events have none and are not capped: they would share one allowance, and a service
without accounts would be silenced by its own visitors. They count as newcomers in bursts instead.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BOOLS, FLOATS, LONGS, WORDS, compiled

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]

HOUR_MS = 3_600_000
SLOTS = 1 << 15
_ROWS = 2

USED = types.float64[:, :, ::1]
HOURS = types.int64[::1]


class Influence:
    """What actors weighed in the hour of the watermark and in the one before: 1 MiB."""

    def __init__(self) -> None:
        self.used = np.zeros((2, _ROWS, SLOTS))
        self.hours = np.full(2, -1, np.int64)

    @staticmethod
    def tail_ms(watermark_ms: int) -> int:
        """Return the event time from which on a partition with this watermark is to be folded."""
        return (watermark_ms // HOUR_MS - 1) * HOUR_MS

    def fold(self, low: Words, high: Words, known: NDArray[np.bool_], weights: Floats, times: Longs) -> None:
        """Charge the actors of entries again, in the ledger's order, from `tail_ms` on or earlier."""
        _fold(self.used, self.hours, low, high, known, weights, times)


@compiled(types.void(USED, HOURS, types.int64))
def turn(used: NDArray[np.float64], hours: Longs, watermark_ms: int) -> None:
    """Begin the hour of the watermark, if it is a new one."""
    hour = watermark_ms // HOUR_MS
    if hours[hour & 1] >= hour:
        return
    for each in (hour - 1, hour):
        if hours[each & 1] != each:
            hours[each & 1] = each
            used[each & 1] = 0.0


@compiled(types.int64(HOURS, types.int64))
def _hour(hours: Longs, time_ms: int) -> int:
    """Return the place of the hour that an event is charged to."""
    return int(max(time_ms // HOUR_MS, min(hours[0], hours[1])) & 1)


@compiled(types.float64(USED, HOURS, types.int64, types.uint64, types.uint64))
def used_up(used: NDArray[np.float64], hours: Longs, time_ms: int, low: np.uint64, high: np.uint64) -> float:
    """Return how much of an hour's allowance is gone, at least as much as was charged."""
    at = _hour(hours, time_ms)
    last = np.uint64(SLOTS - 1)
    return min(used[at, 0, low & last], used[at, 1, high & last])  # type: ignore[no-any-return]


@compiled(types.void(USED, HOURS, types.int64, types.uint64, types.uint64, types.float64))
def charge(
    used: NDArray[np.float64], hours: Longs, time_ms: int, low: np.uint64, high: np.uint64, weight: float
) -> None:
    """Add an event's weight to what its actor used up."""
    at = _hour(hours, time_ms)
    last = np.uint64(SLOTS - 1)
    used[at, 0, low & last] += weight
    used[at, 1, high & last] += weight


@compiled(types.void(USED, HOURS, WORDS, WORDS, BOOLS, FLOATS, LONGS))
def _fold(
    used: NDArray[np.float64],
    hours: Longs,
    low: Words,
    high: Words,
    known: NDArray[np.bool_],
    weights: Floats,
    times: Longs,
) -> None:
    watermark_ms = max(hours[0], hours[1]) * HOUR_MS
    for row in range(len(times)):
        watermark_ms = max(watermark_ms, times[row])
        turn(used, hours, watermark_ms)
        if known[row]:
            charge(used, hours, times[row], low[row], high[row], weights[row])
