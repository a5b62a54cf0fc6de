"""A score that climbs while a target gets more than usual, and so says since when: a cumulative sum, at three scales.

For each of the factors 2, 4, 8 the score is the log likelihood ratio of "events come at that factor times the usual
rate, and their values are as those of this climb were so far" against "all is as usual", since it was last 0:

    each event                + log(factor) / spread + log(q(value) / p(value)) / spread
    each hour                 - (factor - 1) x expected / spread

p: what is usual for the event's kind on this target; q: p moved by the climb's mean difference, with four events' worth
of none. q is known before the event, so all is as usual => the expected likelihood ratio is 1 and the score rarely gets
high, whatever the values (Page 1954; for values in 0..1 by convexity, with the plug-in of Dawid's prequential
analysis). The onset of a burst is where the climb began; it lasted until the highest score; a climb is over when it has
lost two nats and a tenth of that. So hours and days need no windows of their own: a burst of any length is one climb.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types

from rheostat.streams.compiled import compiled

FACTORS = (2.0, 4.0, 8.0)
_OVER_NATS, _OVER_SHARE = 2.0, 0.1
_UNMOVED_EVENTS = 4.0
_LEAST_LIKELY = 0.02
_NEARLY_OVER = 1e-9
"""The least score after an event: only `fall` ends a climb, so that it is told in one place."""

_HOUR_MS = 3_600_000.0

SUMS = 5
COUNT, NEWCOMERS, VALUE, USUAL, EXPECTED = range(SUMS)
"""Sums over a climb: events, those of newcomers, values, what values were usual, events expected."""

_CLIMB = np.dtype(
    [
        ("score", "f8"),
        ("began_ms", "i8"),
        ("sums", "f8", (SUMS,)),
        ("peak", "f8"),
        ("peak_ms", "i8"),
        ("peak_sums", "f8", (SUMS,)),
        ("alarm", "i8"),
        ("detected_ms", "i8"),
        ("told", "f8"),
    ],
    align=True,
)
"""Score and sums now and when the score was highest; the number of its alarm (0: none), when that was raised, and what
suspicion was last told of it."""

CLIMB_TYPE: Any = from_dtype(_CLIMB)


def climb_table(places: int) -> Any:
    """Return a table of climbs, none begun: (places, factors)."""
    return np.zeros((places, len(FACTORS)), _CLIMB)


@compiled(types.void(CLIMB_TYPE))
def end_climb(climb: Any) -> None:
    """Forget a climb that is over."""
    climb.score, climb.peak = 0.0, 0.0
    climb.alarm = 0
    for each in range(SUMS):
        climb.sums[each] = 0.0
        climb.peak_sums[each] = 0.0


@compiled(types.float64(types.float64, types.float64, types.float64))
def _log_ratio(value: float, usual: float, moved: float) -> float:
    """Return log(q(value) / p(value)) of Bernoulli's likelihood; a value between 0 and 1 is part of each."""
    p = min(max(usual, _LEAST_LIKELY), 1.0 - _LEAST_LIKELY)
    q = min(max(usual + moved, _LEAST_LIKELY), 1.0 - _LEAST_LIKELY)
    if p == q:
        return 0.0
    return float(value * np.log(q / p) + (1.0 - value) * np.log((1.0 - q) / (1.0 - p)))


@compiled(
    types.void(CLIMB_TYPE, types.float64, types.float64, types.float64, types.float64, types.float64, types.int64)
)
def rise(climb: Any, factor: float, spread: float, newcomer: float, value: float, usual: float, now_ms: int) -> None:
    """Take in an event."""
    if climb.score <= 0.0:
        end_climb(climb)
        climb.began_ms = now_ms
    moved = (climb.sums[VALUE] - climb.sums[USUAL]) / (climb.sums[COUNT] + _UNMOVED_EVENTS)
    climb.score = max(climb.score + (np.log(factor) + _log_ratio(value, usual, moved)) / spread, _NEARLY_OVER)
    climb.sums[COUNT] += 1.0
    climb.sums[NEWCOMERS] += newcomer
    climb.sums[VALUE] += value
    climb.sums[USUAL] += usual
    if climb.score >= climb.peak:
        climb.peak, climb.peak_ms = climb.score, now_ms
        for each in range(SUMS):
            climb.peak_sums[each] = climb.sums[each]


@compiled(types.boolean(CLIMB_TYPE, types.float64, types.float64, types.float64, types.int64))
def fall(climb: Any, factor: float, spread: float, per_hour: float, passed_ms: int) -> bool:
    """Let time pass in which nothing came; return whether the climb is over by that."""
    if climb.score <= 0.0:
        return False
    expected = per_hour * passed_ms / _HOUR_MS
    climb.score -= (factor - 1.0) * expected / spread
    climb.sums[EXPECTED] += expected
    return bool(climb.score <= 0.0 or climb.score < climb.peak - max(_OVER_NATS, _OVER_SHARE * climb.peak))
