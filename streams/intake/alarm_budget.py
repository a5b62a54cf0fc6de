"""How high a score must be for an alarm, so that a target on ordinary traffic has no more of them than the budget.

Peaks over threshold: the highest score of every six hours that lies above 2 nats is one peak. What they exceed it by
falls off exponentially (a likelihood ratio of the right model does so with scale 1), so at the height

    2 + scale x log(peaks a month / budget)

there are `budget` of them a month. Number and scale are the target's own, together with one month and one peak of what
is usual for all targets of the partition; to the scale come two standard errors. Peaks of alarms teach only that the
alarm's height was reached, so an attack does not buy the next one a higher threshold. Pickands-Balkema-de Haan with
shape 0; Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types

from rheostat.streams.compiled import compiled

PEAK_NATS = 2.0
LEAST_ALARM_NATS = 3.0
_MONTH_H = 720.0
_OWN_MONTHS = 1.0
_SCALE_LEAST = 1.0
_STANDARD_ERRORS = 2.0
PEAK_HOURS = 6

_PEAKS = np.dtype([("highest", "f8"), ("count", "f8"), ("excess", "f8"), ("hours", "f8")], align=True)
"""The highest score of these six hours; how many peaks there were in how many hours, and the sum of their excess."""

PEAKS_TYPE: Any = from_dtype(_PEAKS)


def peak_table(places: int) -> Any:
    """Return a table without a peak."""
    return np.zeros(places, _PEAKS)


def peak_pool() -> Any:
    """Return what is taken to be usual before the first event, a table of one: one peak of 1.5 nats a month."""
    pool = np.zeros(1, _PEAKS)
    pool["count"], pool["excess"], pool["hours"] = 1.0, 1.5, _MONTH_H
    return pool


@compiled(types.void(PEAKS_TYPE))
def forget_peaks(peaks: Any) -> None:
    """Begin with a new target."""
    peaks.highest, peaks.count, peaks.excess, peaks.hours = 0.0, 0.0, 0.0, 0.0


@compiled(types.void(PEAKS_TYPE, types.float64))
def note_peak(peaks: Any, score: float) -> None:
    """Take note of a score that was reached."""
    if score > PEAK_NATS and score > peaks.highest:
        peaks.highest = score


@compiled(types.void(PEAKS_TYPE, PEAKS_TYPE, types.int64))
def count_hour(peaks: Any, pool: Any, hour: int) -> None:
    """Count an hour that is over, and every sixth time the highest score since the last."""
    peaks.hours += 1.0
    pool.hours += 1.0
    if hour % PEAK_HOURS == PEAK_HOURS - 1 and peaks.highest > 0.0:
        for each in (peaks, pool):
            each.count += 1.0
            each.excess += peaks.highest - PEAK_NATS
        peaks.highest = 0.0


@compiled(types.float64(PEAKS_TYPE, PEAKS_TYPE, types.float64))
def alarm_height(peaks: Any, pool: Any, budget_per_month: float) -> float:
    """Return the score at which there is an alarm, nats."""
    usual = pool.count / pool.hours * _MONTH_H
    hours = peaks.hours + _OWN_MONTHS * _MONTH_H
    per_month = (peaks.count + _OWN_MONTHS * usual) / hours * _MONTH_H
    scale = (peaks.excess + max(pool.excess / pool.count, _SCALE_LEAST)) / (peaks.count + 1.0)
    scale = max(scale, _SCALE_LEAST) * (1.0 + _STANDARD_ERRORS / np.sqrt(peaks.count + 1.0))
    return float(max(PEAK_NATS + scale * np.log(max(per_month / budget_per_month, 1.0)), LEAST_ALARM_NATS))
