"""Which signals are compared with which outcomes, to learn how reliable sources are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.signals import KINDS
from rheostat.streams.compiled import LONGS, compiled
from rheostat.streams.intake.recent_signals import CALM, OUTCOME, SIGNALS
from rheostat.streams.intake.reliability import FACTORS, KEYS, PAIRS, add_pair, key_of

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]

OUTCOMES = 2
"""The channel of outcomes; those before it are rated."""

_NAMES = ("explicit", "implicit", "outcome")


def channels() -> Longs:
    """Return the channel of each kind by its code; what belongs to none comes behind all of them."""
    return np.array([_NAMES.index(kind.channel) if kind.channel else len(_NAMES) for kind in KINDS.values()])


@compiled(
    types.void(
        *(SIGNALS, types.int64, types.int64[::1], types.int64, LONGS, KEYS, PAIRS, FACTORS),
        *(types.float64, types.float64, types.int64),
    )
)
def rate(
    signals: Any,
    at: int,
    found: Longs,
    count: int,
    channels: Longs,
    keys: Words,
    pairs: Longs,
    factors: Floats,
    floor: float,
    prior: float,
    halflife: int,
) -> None:
    """Make pairs of a new signal and the `count` found ones, of the same prediction and basis, the newest first.

    Each signal is paired with the first outcome of another source that is remembered: when it comes, or else when that
    outcome comes.
    """
    signal = signals[at]
    if channels[signal.kind] < OUTCOMES:
        for index in range(count - 1, -1, -1):
            other = signals[found[index]]
            if other.flags & OUTCOME and other.source != signal.source:
                key = key_of(signal.source, channels[signal.kind])
                add_pair(keys, pairs, factors, key, signal.value >= 0.5, other.value >= 0.5, floor, prior, halflife)
                return
        return
    if not signal.flags & OUTCOME:
        return
    for index in range(count):
        other = signals[found[index]]
        if channels[other.kind] == OUTCOMES or not other.flags & CALM or other.source == signal.source:
            continue
        met = False
        for earlier in range(count):
            third = signals[found[earlier]]
            met = met or (third.flags & OUTCOME != 0 and third.source != other.source)
        if not met:
            key = key_of(other.source, channels[other.kind])
            add_pair(keys, pairs, factors, key, other.value >= 0.5, signal.value >= 0.5, floor, prior, halflife)
