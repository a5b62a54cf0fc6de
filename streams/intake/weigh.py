"""How much an event counts in learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.intake.settings import BurstSettings

Floats = NDArray[np.float64]


def weights(kind_weight: Floats, certainty: Floats, suspicion: Floats, settings: BurstSettings) -> Floats:
    """Return kind weight x certainty, times (1 - suspicion) from `downweight_at` on."""
    trusted = np.where(suspicion >= settings.downweight_at, 1.0 - suspicion, 1.0)
    return np.asarray(kind_weight * certainty * trusted, np.float64)
