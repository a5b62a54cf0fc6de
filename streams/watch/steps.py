"""Which events of the past were the later half of a step between two targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.intake.bursts import Events


def later_halves(events: Events, lockstep_ms: int) -> NDArray[np.intp]:
    """Return the rows of events, in the order of their times and of two targets only, that follow one of the same actor
    on the other target within `lockstep_ms`."""
    order = np.lexsort((np.arange(len(events)), events.actors.low))
    earlier, later = order[:-1], order[1:]
    step = (events.actors.low[earlier] == events.actors.low[later]) & events.known[later]
    step &= events.targets.low[earlier] != events.targets.low[later]
    step &= events.times_ms[later] - events.times_ms[earlier] <= lockstep_ms
    return np.sort(later[step])
