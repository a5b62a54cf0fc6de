"""Which targets are watched: each has one place in the tables of what is known of targets, so memory is fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types

from rheostat.streams.compiled import compiled

_PLACES_TRIED = 8

_WATCHED = np.dtype(
    [("low", "u8"), ("high", "u8"), ("since_ms", "i8"), ("seen_ms", "i8"), ("shift", "f8"), ("valued", "f8")],
    align=True,
)
"""A watched target: its fingerprint (low is odd; 0 is an empty place), when it was first and last seen, and by how much
its values differ from what is usual for their kinds: the sum of differences and over how many events."""

WATCHED_TYPE: Any = from_dtype(_WATCHED)


def watched_table(places: int) -> Any:
    """Return an empty table; `places` is a power of two."""
    return np.zeros(places, _WATCHED)


@compiled(types.int64(WATCHED_TYPE[::1], types.uint64, types.uint64, types.int64, types.int64))
def place_of(table: Any, low: int, high: int, now_ms: int, free_ms: int) -> np.int64:
    """Return the place of a target, `place - len(table)` if it may settle there, or `len(table)` if there is none.

    A target silent for `free_ms` gives its place up to another one; the longest silent of eight goes first.
    """
    owner = low | np.uint64(1)
    silent = np.int64(-1)
    for step in range(_PLACES_TRIED):
        place = np.int64((high + np.uint64(step)) & np.uint64(len(table) - 1))
        if table[place].low == owner and table[place].high == high:
            return place
        if table[place].low == 0:
            silent = place
            break
        if now_ms - table[place].seen_ms > free_ms and (silent < 0 or table[place].seen_ms < table[silent].seen_ms):
            silent = place
    if silent < 0:
        return np.int64(len(table))
    return np.int64(silent - len(table))


@compiled(types.void(WATCHED_TYPE, types.uint64, types.uint64, types.int64))
def settle_down(target: Any, low: int, high: int, now_ms: int) -> None:
    """Give a place to a new target."""
    target.low, target.high = low | np.uint64(1), high
    target.since_ms, target.seen_ms = now_ms, now_ms
    target.shift, target.valued = 0.0, 0.0
