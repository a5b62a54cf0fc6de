"""What each target got in the present and the previous second, and what it usually gets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from rheostat.streams.compiled import compiled
from rheostat.streams.prefetch import prefetch

_NEVER = np.iinfo(np.int64).min // 4
_FREE_S = 600

_TARGET = np.dtype(
    [("owner", "u8"), ("second", "i8"), ("rate", "f8"), ("now", "f8", (4,)), ("before", "f8", (4,))], align=True
)
"""A target: its fingerprint, the second its events are in, their usual rate a second, and the sums of that second and
of the one before it."""

TARGET_TYPE: Any = from_dtype(_TARGET)


def target_table(slots: int) -> NDArray[np.void]:
    """Return an empty table, one slot for a target."""
    table = np.zeros(slots, _TARGET)
    table["second"] = _NEVER
    return table


@compiled(types.void(TARGET_TYPE[::1], types.uint64))
def expect_target(table: Any, high: np.uint64) -> None:
    """Begin to fetch a target's slot."""
    prefetch(table, high & np.uint64(len(table) - 1))


@compiled(types.int64(TARGET_TYPE[::1], types.uint64, types.uint64, types.int64))
def claim(table: Any, low: int, high: int, second: int) -> np.int64:
    """Return the slot of a target, or -1: another one has it, and was not silent for long enough to lose it."""
    slot = np.int64(high & np.uint64(len(table) - 1))
    owner = low | np.uint64(1)
    target = table[slot]
    if target.owner == owner:
        return slot
    if second - target.second <= _FREE_S:
        return np.int64(-1)
    target.owner = owner
    target.second = _NEVER
    target.rate = 0.0
    target.now[:] = 0.0
    target.before[:] = 0.0
    return slot


@compiled(types.void(TARGET_TYPE, types.int64, types.float64))
def advance(target: Any, second: int, baseline_s: float) -> None:
    """Let a target's time go on; a late event counts as happening now."""
    passed = second - target.second
    if passed <= 0:
        return
    for column in range(4):
        target.before[column] = target.now[column] if passed == 1 else 0.0
        target.now[column] = 0.0
    target.rate *= np.exp(-passed / baseline_s)
    target.second = second
