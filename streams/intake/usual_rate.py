"""What a target usually gets in an hour: its level times the shape of the week, and how unsteady its hours are.

    expected = level x week of all targets x day of this target x week of this target

Level: events over hours, faded with `halflife_ms`, plus one standard error, so that a short past is given the benefit
of the doubt. A shape is counts over what was expected without it, and is pulled towards 1 by a few events' worth: a
sparse target has the shape of all targets, a busy one its own. Spread: variance over mean of an hour's count about what
was expected (Pearson's dispersion, at least 1); n events of a target with spread s are evidence as n / s of a steady
one. What is far above the usual is cut before it teaches, so a burst does not become usual by lasting. Hours are those
of UTC; the shape of the week is a matter of 168 of them, Monday first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types

from rheostat.streams.compiled import compiled

_WEEK_H = 168
_DAY_H = 24
_THURSDAY_H = 72
"""The epoch began on a Thursday, 72 hours into a week that begins on Monday."""

_FIRST_EXPOSURE_H = 24.0
"""How long the mean of all targets counts for a new one."""

_SHAPE_EVENTS, _POOL_EVENTS = 5.0, 50.0
"""Events' worth of 1 in a target's own shapes, and in that of all targets."""

_DAY_FADES, _WEEK_FADES = 0.5 ** (1 / 14), 0.8
"""What is left of a shape's hour when it comes round again."""

_SPREAD_FADES, _SPREAD_EVENTS = 0.998, 20.0
_SPREAD_MAX_IN_ERROR = 10.0
_CUT, _CUT_BUSY, _CUT_SPREAD = 3.0, 1.0, 6.0
"""Standard deviations above the expected beyond which an hour teaches no more: level and shape, the same during an
alarm, and spread."""

_POOL_FADES = 0.99999
_LEAST_PER_HOUR = 1e-3
_SILENT_HOURS_MAX = 60 * _DAY_H
"""Silence beyond this teaches nothing more."""

_HOUR_MS = 3_600_000

_RATE = np.dtype(
    [
        ("hour", "i8"),
        ("hours", "f8"),
        ("count", "f8"),
        ("per_hour", "f8"),
        ("spread", "f8"),
        ("events", "f8"),
        ("exposure", "f8"),
        ("squares", "f8"),
        ("expected", "f8"),
        ("day_counts", "f4", (_DAY_H,)),
        ("day_expected", "f4", (_DAY_H,)),
        ("week_counts", "f4", (_WEEK_H,)),
        ("week_expected", "f4", (_WEEK_H,)),
    ],
    align=True,
)
"""`hour`: the one a target is in, since the epoch; `count`: its events so far; `per_hour`: what is expected in it.
`hours`: how many were learned from. The rest are faded sums."""

_POOL = np.dtype(
    [("levels", "f8"), ("hours", "f8"), ("counts", "f8", (_WEEK_H,)), ("expected", "f8", (_WEEK_H,))], align=True
)

RATE_TYPE: Any = from_dtype(_RATE)
POOL_TYPE: Any = from_dtype(_POOL)


def rate_table(places: int) -> Any:
    """Return a table in which nothing is known of any target."""
    return np.zeros(places, _RATE)


def rate_pool() -> Any:
    """Return what is known of all targets together before the first event: a table of one."""
    pool = np.zeros(1, _POOL)
    pool["levels"], pool["hours"] = 1.0, 10.0
    return pool


@compiled(types.float64(POOL_TYPE, types.int64))
def _pooled(pool: Any, week_hour: int) -> float:
    return float((pool.counts[week_hour] + _POOL_EVENTS) / (pool.expected[week_hour] + _POOL_EVENTS))


@compiled(types.float64(types.float64, types.float64, types.float64))
def _shape(counts: float, expected: float, events: float) -> float:
    return (counts + events) / (expected + events)


@compiled(types.void(RATE_TYPE, POOL_TYPE))
def expect(rate: Any, pool: Any) -> None:
    """Work out what is expected in the hour a target is in."""
    day_hour, week_hour = rate.hour % _DAY_H, (rate.hour + _THURSDAY_H) % _WEEK_H
    events = _SHAPE_EVENTS * rate.spread
    error = np.sqrt(rate.events * min(rate.spread, _SPREAD_MAX_IN_ERROR))
    shape = _pooled(pool, week_hour) * _shape(rate.day_counts[day_hour], rate.day_expected[day_hour], events)
    shape *= _shape(rate.week_counts[week_hour], rate.week_expected[week_hour], events)
    rate.per_hour = max((rate.events + error) / rate.exposure * shape, _LEAST_PER_HOUR)


@compiled(types.void(RATE_TYPE, POOL_TYPE, types.int64))
def begin(rate: Any, pool: Any, now_ms: int) -> None:
    """Begin with a new target: it is taken to be like the mean of all."""
    rate.hour = now_ms // _HOUR_MS
    rate.hours, rate.count, rate.squares, rate.expected = 0.0, 0.0, 0.0, 0.0
    rate.spread = 1.0
    rate.events, rate.exposure = _FIRST_EXPOSURE_H * pool.levels / pool.hours, _FIRST_EXPOSURE_H
    rate.day_counts[:] = np.float32(0.0)
    rate.day_expected[:] = np.float32(0.0)
    rate.week_counts[:] = np.float32(0.0)
    rate.week_expected[:] = np.float32(0.0)
    expect(rate, pool)


@compiled(types.void(RATE_TYPE, POOL_TYPE, types.boolean, types.float64))
def close_hour(rate: Any, pool: Any, busy: bool, fades: float) -> None:
    """Learn from the hour a target is in, and go on to the next one. `busy`: an alarm is open."""
    day_hour, week_hour = rate.hour % _DAY_H, (rate.hour + _THURSDAY_H) % _WEEK_H
    expected, deviation = rate.per_hour, np.sqrt(rate.spread * rate.per_hour)
    cut = expected + deviation if busy else expected + _CUT * deviation + 1.0
    count = min(rate.count, cut)
    shape = expected / ((rate.events + np.sqrt(rate.events * min(rate.spread, _SPREAD_MAX_IN_ERROR))) / rate.exposure)
    rate.events, rate.exposure = rate.events * fades + count, rate.exposure * fades + max(shape, 0.02)
    level = rate.events / rate.exposure
    pooled = _pooled(pool, week_hour)
    rate.day_counts[day_hour] = np.float32(rate.day_counts[day_hour] * _DAY_FADES + count)
    rate.day_expected[day_hour] = np.float32(rate.day_expected[day_hour] * _DAY_FADES + level * pooled)
    of_day = _shape(rate.day_counts[day_hour], rate.day_expected[day_hour], _SHAPE_EVENTS * rate.spread)
    rate.week_counts[week_hour] = np.float32(rate.week_counts[week_hour] * _WEEK_FADES + count)
    rate.week_expected[week_hour] = np.float32(rate.week_expected[week_hour] * _WEEK_FADES + level * pooled * of_day)
    pool.counts[week_hour] += min(count, 4.0 * level + 1.0) / rate.spread
    pool.expected[week_hour] += level / rate.spread
    pool.levels, pool.hours = pool.levels * _POOL_FADES + min(level, 1e4), pool.hours * _POOL_FADES + 1.0
    off = min(rate.count, expected + _CUT_SPREAD * deviation + 1.0) - expected
    rate.squares = rate.squares * _SPREAD_FADES + off * off
    rate.expected = rate.expected * _SPREAD_FADES + expected
    rate.spread = max(1.0, (rate.squares + _SPREAD_EVENTS) / (rate.expected + _SPREAD_EVENTS))
    rate.hours += 1.0
    rate.count = 0.0
    rate.hour += 1
    expect(rate, pool)


@compiled(types.boolean(RATE_TYPE, POOL_TYPE, types.int64))
def skip_silence(rate: Any, pool: Any, now_ms: int) -> bool:
    """Go on to the last day of a silence if it is too long to learn from; return whether it was."""
    if now_ms // _HOUR_MS - rate.hour <= _SILENT_HOURS_MAX:
        return False
    rate.hour = now_ms // _HOUR_MS - _DAY_H
    expect(rate, pool)
    return True
