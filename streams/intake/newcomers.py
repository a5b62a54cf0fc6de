"""Who was never seen before: a fixed table of actors, which may take a newcomer for known, never the other way round.

Count-min in two rows: an actor is known when both of its slots were counted. With a tenth of the slots in use one
newcomer in a hundred looks known. After four events a slot all counts are halved, so one-time visitors fade.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import compiled

_EVENTS_A_SLOT = 4
_FIRST_EVENTS, _USUAL_EVENTS = 200.0, 2_000.0

SHARE, CALM, SEEN = range(3)
"""Places in `usual`: the usual share of newcomers, over how many calm events so far, and events since the last
halving."""

USUAL_TYPE: Any = types.float64[::1]
ACTORS_TYPE: Any = types.uint32[:, ::1]


def actor_table(slots: int) -> NDArray[np.uint32]:
    """Return a table in which nobody is known; `slots` is a power of two."""
    return np.zeros((2, slots), np.uint32)


def usual_newcomers() -> NDArray[np.float64]:
    """Return what is usual before the first event: everybody is new."""
    return np.array([1.0, 0.0, 0.0])


@compiled(types.float64(ACTORS_TYPE, USUAL_TYPE, types.uint64, types.uint64))
def arrive(actors: NDArray[np.uint32], usual: NDArray[np.float64], low: int, high: int) -> float:
    """Return 1 for an actor never seen before and 0 for another, and remember it."""
    mask = np.uint64(actors.shape[1] - 1)
    first, second = low & mask, high & mask
    newcomer = 1.0 if min(actors[0, first], actors[1, second]) == 0 else 0.0
    actors[0, first] += np.uint32(1)
    actors[1, second] += np.uint32(1)
    usual[SEEN] += 1.0
    if usual[SEEN] >= _EVENTS_A_SLOT * actors.shape[1]:
        actors >>= np.uint32(1)
        usual[SEEN] = 0.0
    return newcomer


@compiled(types.void(USUAL_TYPE, types.float64))
def learn_share(usual: NDArray[np.float64], newcomer: float) -> None:
    """Learn the usual share from a calm event: from few at first, when all are new, and from many later."""
    usual[CALM] += 1.0
    usual[SHARE] += (newcomer - usual[SHARE]) / min(max(usual[CALM] / 2.0, _FIRST_EVENTS), _USUAL_EVENTS)
