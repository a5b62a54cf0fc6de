"""How much one actor may weigh within an hour of event time, so that nobody teaches the models alone.

The first `weight_max` of an actor's weight in an hour count fully; an event that would go beyond it counts 0. The hour
is that of the event, but at the earliest the one before the hour of the watermark (the largest event time written so
far): so back-dated events share one allowance, and only two hours are ever kept.

An actor is a pseudonym. Anonymous events have none and are not capped: they would share one allowance, and a service
without accounts would be silenced by its own visitors. They count as newcomers in bursts instead.
There is a place for some `SLOTS` actors an hour. One who finds none near its own is not capped: to be full of actors
is no fault of theirs. Each hour's places follow from what was charged to that hour, so folding the ledger from
`tail_ms` on restores them exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from rheostat.streams.compiled import BOOLS, FLOATS, LONGS, WORDS, compiled
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.prefetch import prefetch

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]

HOUR_MS = 3_600_000
SLOTS = 1 << 16
_PROBES = 64

_ACTOR = np.dtype([("owner", "u8"), ("used", "f8")])
ACTORS = types.Array(from_dtype(_ACTOR), 2, "C")
HOURS = types.int64[::1]


class Influence:
    """What actors weighed in the hour of the watermark and in the one before: at most 2 MiB, as actors come."""

    def __init__(self) -> None:
        self.actors = np.zeros((2, SLOTS), _ACTOR)
        self.hours = np.full(2, -1, np.int64)

    @staticmethod
    def tail_ms(watermark_ms: int) -> int:
        """Return the event time from which on a partition with this watermark is to be folded."""
        return (watermark_ms // HOUR_MS - 1) * HOUR_MS

    def fold(self, actors: Fingerprints, known: NDArray[np.bool_], weights: Floats, times_ms: Longs) -> None:
        """Charge the actors of entries again, in the ledger's order, from `tail_ms` on or earlier."""
        _fold(self.actors, self.hours, actors.low, known, weights, times_ms)


@compiled(types.void(ACTORS, HOURS, types.int64))
def turn(actors: Any, hours: Longs, watermark_ms: int) -> None:
    """Begin the hour of the watermark, if it is a new one."""
    hour = watermark_ms // HOUR_MS
    if hours[hour & 1] >= hour:
        return
    for each in (hour - 1, hour):
        if hours[each & 1] != each:
            hours[each & 1] = each
            for slot in range(actors.shape[1]):
                actors[each & 1, slot].owner = 0


@compiled(types.int64(HOURS, types.int64))
def _hour(hours: Longs, time_ms: int) -> int:
    """Return the place of the hour that an event is charged to."""
    return int(max(time_ms // HOUR_MS, min(hours[0], hours[1])) & 1)


@compiled(types.int64(ACTORS, types.int64, types.uint64))
def _slot(actors: Any, hour: int, owner: np.uint64) -> np.int64:
    """Return the slot of an actor, or the free one that is next, or -1."""
    slot = np.int64(owner >> np.uint64(1)) & (SLOTS - 1)
    for _ in range(_PROBES):
        if actors[hour, slot].owner == owner or actors[hour, slot].owner == 0:
            return slot
        slot = (slot + 1) & (SLOTS - 1)
    return np.int64(-1)


@compiled(types.void(ACTORS, HOURS, types.int64, types.uint64))
def expect_actor(actors: Any, hours: Longs, time_ms: int, actor: np.uint64) -> None:
    """Begin to fetch an actor's slot."""
    prefetch(actors[_hour(hours, time_ms)], np.int64(actor >> np.uint64(1)) & (SLOTS - 1))


@compiled(types.float64(ACTORS, HOURS, types.int64, types.uint64))
def used_up(actors: Any, hours: Longs, time_ms: int, actor: np.uint64) -> float:
    """Return how much of an hour's allowance is gone, -inf for an actor without a place."""
    hour, owner = _hour(hours, time_ms), actor | np.uint64(1)
    slot = _slot(actors, hour, owner)
    if slot < 0:
        return -np.inf
    return float(actors[hour, slot].used if actors[hour, slot].owner == owner else 0.0)


@compiled(types.void(ACTORS, HOURS, types.int64, types.uint64, types.float64))
def charge(actors: Any, hours: Longs, time_ms: int, actor: np.uint64, weight: float) -> None:
    """Add an event's weight, more than 0, to what its actor used up."""
    hour, owner = _hour(hours, time_ms), actor | np.uint64(1)
    slot = _slot(actors, hour, owner)
    if slot < 0:
        return
    place = actors[hour, slot]
    place.used = weight + (place.used if place.owner == owner else 0.0)
    place.owner = owner


@compiled(types.void(ACTORS, HOURS, WORDS, BOOLS, FLOATS, LONGS))
def _fold(actors: Any, hours: Longs, owners: Words, known: NDArray[np.bool_], weights: Floats, times_ms: Longs) -> None:
    watermark_ms = max(hours[0], hours[1]) * HOUR_MS
    for row in range(len(times_ms)):
        watermark_ms = max(watermark_ms, times_ms[row])
        turn(actors, hours, watermark_ms)
        if known[row] and weights[row] > 0.0:
            charge(actors, hours, times_ms[row], owners[row], weights[row])
