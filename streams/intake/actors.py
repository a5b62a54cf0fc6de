"""How much history actors have: a count sketch of fixed size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.intake.fingerprint import Fingerprints


class ActorHistory:
    """Counts events by actor, approximately and never too low (count-min, two rows of four bytes a slot).

    Two actors are confused only where both of their slots meet, so with a tenth of `slots` in use one newcomer in a
    hundred looks established. After 4 x `slots` events all counts are halved, so one-time visitors fade.
    """

    def __init__(self, slots: int) -> None:
        self._counts = np.zeros((2, slots), np.uint32)
        self._mask = np.uint64(slots - 1)
        self._halve_after = 4 * slots
        self._recorded = 0

    def counts(self, actors: Fingerprints) -> NDArray[np.uint32]:
        """Return the number of events recorded of the actor of each row."""
        first, second = self._slots(actors)
        return np.asarray(np.minimum(self._counts[0, first], self._counts[1, second]))

    def record(self, actors: Fingerprints) -> None:
        """Add one event of the actor of each row."""
        for row, slots in zip(self._counts, self._slots(actors), strict=True):
            np.add.at(row, slots, np.uint32(1))
        self._recorded += len(actors.low)
        if self._recorded >= self._halve_after:
            self._counts >>= np.uint32(1)
            self._recorded = 0

    def _slots(self, actors: Fingerprints) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        return actors.low & self._mask, actors.high & self._mask
