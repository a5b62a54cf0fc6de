"""Finds bursts of hours and days on one target, says since when they are, and how suspicious they are.

    who is new (newcomers) > what is usual here and now (usual_rate) > a score that climbs (climb)
      > alarm when it is higher than the budget of false alarms allows (alarm_budget) > suspicion (evidence)

An alarm says "far more than usual": a fact about traffic, right for a launch too. Its suspicion says "and this is no
crowd of the usual people", and only that takes weight away. It is found after its onset, so an alarm names an interval;
while it lasts it is revised: its end, its suspicion and which values are suspicious may change, its onset and
`detected_ms` never.

Everything is a function of the events in their order: how they are cut into blocks does not matter, and later events
change nothing that was told before. An event that comes late counts as happening now.
Limits: a target's first week raises an alarm only when it is suspicious; an attack that grows more slowly than the
level learns (weeks) becomes usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.compiled import BOOLS, FLOATS, INTS, LONGS, WORDS, compiled
from rheostat.streams.intake.alarm_budget import (
    LEAST_ALARM_NATS,
    PEAKS_TYPE,
    alarm_height,
    count_hour,
    forget_peaks,
    note_peak,
    peak_pool,
    peak_table,
)
from rheostat.streams.intake.bursts import Events
from rheostat.streams.intake.climb import (
    CLIMB_TYPE,
    COUNT,
    EXPECTED,
    FACTORS,
    NEWCOMERS,
    USUAL,
    VALUE,
    climb_table,
    end_climb,
    fall,
    rise,
)
from rheostat.streams.intake.evidence import suspicion, suspicious_side
from rheostat.streams.intake.newcomers import SHARE, actor_table, arrive, learn_share, usual_newcomers
from rheostat.streams.intake.settings import SlowBurstSettings
from rheostat.streams.intake.slow_alarm import ALARM, ALARM_TYPE, SlowAlarm
from rheostat.streams.intake.usual_rate import (
    POOL_TYPE,
    RATE_TYPE,
    begin,
    close_hour,
    rate_pool,
    rate_table,
    skip_silence,
)
from rheostat.streams.intake.watched import WATCHED_TYPE, place_of, settle_down, watched_table

Floats = NDArray[np.float64]

_HOUR_MS = 3_600_000
_WEEK_MS = 7 * 24 * _HOUR_MS
_FIRST_VALUES, _VALUE_EVENTS = 20.0, 2_000.0
_SHIFT_EVENTS = 10.0
_SHIFT_FADES = 0.999
_SCALES = len(FACTORS)
_NEVER_MS = np.iinfo(np.int64).max
_LOG = 1_024
_LOG_ROOM = 4 * _SCALES
_TOLD_STEP = 0.1

_MEAN, _EVENTS = range(2)
"""Columns of what values are usual for a kind: their mean, and over how many events."""

_ALARMS, _UNWATCHED, _BEGAN_MS, _TOLD = range(4)
"""Places in the scorer's counts: alarms raised, events on targets for which there was no place, the time of the first
event, and how full the log is."""


@dataclass(frozen=True, slots=True)
class SlowScores:
    """What is told of a run of events: the suspicion of each as of now, and alarms raised or revised by them, in order.

    An event before its alarm's detection has suspicion 0 here; the alarm's interval says what it deserves after the
    fact.
    """

    suspicion: Floats
    alarms: list[SlowAlarm]


class SlowBursts:
    """Watches targets. Memory is fixed: at most 2 KB for each of `targets_max`, 8 bytes an actor."""

    def __init__(self, settings: SlowBurstSettings) -> None:
        self._settings = settings
        self._watched = watched_table(settings.targets_max)
        self._rates, self._rate_pool = rate_table(settings.targets_max), rate_pool()
        self._peaks, self._peak_pool = peak_table(settings.targets_max), peak_pool()
        self._climbs = climb_table(settings.targets_max)
        self._actors, self._newcomers = actor_table(settings.actors_max), usual_newcomers()
        self._values_usual = np.tile([0.5, 0.0], (len(NAMES), 1))
        self._counts = np.array([0, 0, _NEVER_MS, 0])
        self._log = np.zeros(_LOG, ALARM)

    @property
    def unwatched(self) -> int:
        """Events on targets that were not watched because there was no place for them."""
        return int(self._counts[_UNWATCHED])

    def number_from(self, first: int) -> None:
        """Number the alarms to come from here on."""
        self._counts[_ALARMS] = first - 1

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return all that is known, as the arrays in use: to be kept, and to be filled again."""
        return {
            "watched": self._watched,
            "rates": self._rates,
            "rate_pool": self._rate_pool,
            "peaks": self._peaks,
            "peak_pool": self._peak_pool,
            "climbs": self._climbs,
            "actors": self._actors,
            "newcomers": self._newcomers,
            "values_usual": self._values_usual,
            "counts": self._counts,
        }

    def score(self, events: Events) -> SlowScores:
        """Take in events in their order."""
        settings = self._settings
        scores, alarms, row = np.zeros(len(events)), list[SlowAlarm](), 0
        while row < len(events):
            row = _watch(
                *(self._watched, self._rates, self._rate_pool, self._peaks, self._peak_pool, self._climbs),
                *(self._actors, self._newcomers, self._values_usual, self._counts, self._log),
                *(events.targets.low, events.targets.high, events.targeted),
                *(events.actors.low, events.actors.high, events.known),
                *(events.kinds, events.values, events.times_ms),
                settings.alarms_per_target_month,
                0.5 ** (_HOUR_MS / settings.halflife_ms),
                settings.forget_after_ms,
                settings.downweight_at,
                row,
                scores,
            )
            alarms += [SlowAlarm(*each) for each in self._log[: self._counts[_TOLD]].tolist()]
        return SlowScores(scores, alarms)

    def open_alarms(self) -> list[SlowAlarm]:
        """Return alarms that may still be revised, as they stand now, by number."""
        places, scales = np.nonzero(self._climbs["alarm"])
        found = []
        for place, scale in zip(places.tolist(), scales.tolist(), strict=True):
            climb = self._climbs[place, scale]
            _tell(self._log, 0, self._watched[place], climb, FACTORS[scale], self._rates[place]["spread"],
                  self._newcomers[SHARE], False)  # fmt: skip
            found.append(SlowAlarm(*self._log[0].tolist()))
        return sorted(found)


@compiled(types.void(types.float64[:, ::1], types.int64, types.float64))
def _learn_value(usual: Floats, kind: int, value: float) -> None:
    usual[kind, _EVENTS] += 1.0
    over = min(max(usual[kind, _EVENTS] / 2.0, _FIRST_VALUES), _VALUE_EVENTS)
    usual[kind, _MEAN] += (value - usual[kind, _MEAN]) / over


@compiled(types.float64(CLIMB_TYPE, types.float64, types.float64, types.float64))
def _suspicion_of(climb: Any, factor: float, spread: float, newcomers_usual: float) -> float:
    sums = climb.peak_sums
    return suspicion(
        *(sums[COUNT], sums[EXPECTED], factor, spread),
        *(sums[VALUE], sums[USUAL], sums[NEWCOMERS], newcomers_usual),
    )


@compiled(
    types.void(
        ALARM_TYPE[::1],
        types.int64,
        WATCHED_TYPE,
        CLIMB_TYPE,
        types.float64,
        types.float64,
        types.float64,
        types.boolean,
    )
)
def _tell(
    log: Any, at: int, target: Any, climb: Any, factor: float, spread: float, newcomers_usual: float, over: bool
) -> None:
    """Write an alarm as it stands into the log."""
    alarm, sums = log[at], climb.peak_sums
    alarm.number, alarm.low, alarm.high, alarm.factor = climb.alarm, target.low, target.high, factor
    alarm.start_ms, alarm.end_ms, alarm.detected_ms = climb.began_ms, climb.peak_ms + 1, climb.detected_ms
    alarm.score = climb.peak
    alarm.suspicion = _suspicion_of(climb, factor, spread, newcomers_usual)
    alarm.side = suspicious_side(sums[COUNT], sums[VALUE], sums[USUAL])
    alarm.middle = sums[USUAL] / sums[COUNT]
    alarm.events, alarm.expected = sums[COUNT], sums[EXPECTED]
    alarm.newcomers, alarm.newcomers_usual = sums[NEWCOMERS] / sums[COUNT], newcomers_usual
    alarm.value, alarm.value_usual = sums[VALUE] / sums[COUNT], sums[USUAL] / sums[COUNT]
    alarm.over = over
    climb.told = alarm.suspicion


@compiled(types.boolean(CLIMB_TYPE[::1]))
def _busy(climbs: Any) -> bool:
    """Return whether a target has an open alarm."""
    busy = False
    for scale in range(_SCALES):
        busy |= climbs[scale].alarm != 0
    return busy


@compiled(
    types.int64(
        ALARM_TYPE[::1], types.int64, WATCHED_TYPE, RATE_TYPE, CLIMB_TYPE[::1], PEAKS_TYPE, types.int64, types.float64
    )
)
def _pass(
    log: Any, told: int, target: Any, rate: Any, climbs: Any, peaks: Any, until_ms: int, newcomers_usual: float
) -> int:
    """Let a target's time go on within the hour it is in; return how full the log is then."""
    passed_ms = until_ms - target.seen_ms
    target.seen_ms = until_ms
    for scale in range(_SCALES):
        climb = climbs[scale]
        if fall(climb, FACTORS[scale], rate.spread, rate.per_hour, passed_ms):
            if climb.alarm != 0:
                _tell(log, told, target, climb, FACTORS[scale], rate.spread, newcomers_usual, True)
                told += 1
            elif until_ms - target.since_ms >= _WEEK_MS:
                note_peak(peaks, climb.peak)
            end_climb(climb)
    return told


@compiled(
    types.int64(
        *(WATCHED_TYPE[::1], RATE_TYPE[::1], POOL_TYPE[::1], PEAKS_TYPE[::1], PEAKS_TYPE[::1], CLIMB_TYPE[:, ::1]),
        *(types.uint32[:, ::1], types.float64[::1], types.float64[:, ::1], types.int64[::1], ALARM_TYPE[::1]),
        *(WORDS, WORDS, BOOLS),
        *(WORDS, WORDS, BOOLS),
        *(INTS, FLOATS, LONGS),
        *(types.float64, types.float64, types.int64, types.float64),
        types.int64,
        types.float64[::1],
    )
)
def _watch(
    watched: Any,
    rates: Any,
    rate_pools: Any,
    all_peaks: Any,
    peak_pools: Any,
    all_climbs: Any,
    actors: NDArray[np.uint32],
    newcomers: Floats,
    values_usual: Floats,
    counts: NDArray[np.int64],
    log: Any,
    target_low: NDArray[np.uint64],
    target_high: NDArray[np.uint64],
    targeted: NDArray[np.bool_],
    actor_low: NDArray[np.uint64],
    actor_high: NDArray[np.uint64],
    actor_known: NDArray[np.bool_],
    kinds: NDArray[np.int32],
    values: Floats,
    times_ms: NDArray[np.int64],
    budget: float,
    fades: float,
    free_ms: int,
    downweight_at: float,
    first_row: int,
    scores: Floats,
) -> int:
    """Take in events from a row on, until the log might become too full; return the next row."""
    rate_pool, peak_pool, told = rate_pools[0], peak_pools[0], 0
    for row in range(first_row, len(times_ms)):
        if told + _LOG_ROOM > len(log):
            counts[_TOLD] = told
            return row
        counts[_BEGAN_MS] = min(counts[_BEGAN_MS], times_ms[row])
        newcomer = 1.0
        if actor_known[row]:
            newcomer = arrive(actors, newcomers, actor_low[row], actor_high[row])
        if not targeted[row]:
            continue
        place = place_of(watched, target_low[row], target_high[row], times_ms[row], free_ms)
        if place == len(watched):
            counts[_UNWATCHED] += 1
            continue
        if place < 0:
            place += len(watched)
            for scale in range(_SCALES):
                climb = all_climbs[place, scale]
                if climb.alarm != 0:
                    _tell(log, told, watched[place], climb, FACTORS[scale], rates[place].spread, newcomers[SHARE], True)
                    told += 1
                end_climb(climb)
            settle_down(watched[place], target_low[row], target_high[row], times_ms[row])
            begin(rates[place], rate_pool, times_ms[row])
            forget_peaks(all_peaks[place])
        target, rate, peaks, climbs = watched[place], rates[place], all_peaks[place], all_climbs[place]
        now_ms = max(times_ms[row], target.seen_ms)
        while now_ms >= (rate.hour + 1) * _HOUR_MS:
            told = _pass(log, told, target, rate, climbs, peaks, (rate.hour + 1) * _HOUR_MS, newcomers[SHARE])
            count_hour(peaks, peak_pool, rate.hour)
            close_hour(rate, rate_pool, _busy(climbs), fades)
            if skip_silence(rate, rate_pool, now_ms):
                told = _pass(log, told, target, rate, climbs, peaks, rate.hour * _HOUR_MS, newcomers[SHARE])
        told = _pass(log, told, target, rate, climbs, peaks, now_ms, newcomers[SHARE])
        rate.count += 1.0
        usual = values_usual[kinds[row], _MEAN] + target.shift / (target.valued + _SHIFT_EVENTS)
        settled = now_ms - target.since_ms >= _WEEK_MS
        begun = now_ms - counts[_BEGAN_MS] >= _WEEK_MS
        for scale in range(_SCALES):
            climb = climbs[scale]
            rise(climb, FACTORS[scale], rate.spread, newcomer, values[row], usual, now_ms)
            if climb.score < climb.peak or climb.peak < LEAST_ALARM_NATS or not begun:
                pass
            elif climb.alarm != 0:
                doubt = _suspicion_of(climb, FACTORS[scale], rate.spread, newcomers[SHARE])
                if (doubt >= downweight_at) != (climb.told >= downweight_at) or abs(doubt - climb.told) >= _TOLD_STEP:
                    _tell(log, told, target, climb, FACTORS[scale], rate.spread, newcomers[SHARE], False)
                    told += 1
            elif climb.peak >= alarm_height(peaks, peak_pool, budget) and (
                settled or _suspicion_of(climb, FACTORS[scale], rate.spread, newcomers[SHARE]) >= downweight_at
            ):
                note_peak(peaks, alarm_height(peaks, peak_pool, budget))
                counts[_ALARMS] += 1
                climb.alarm, climb.detected_ms = counts[_ALARMS], now_ms
                _tell(log, told, target, climb, FACTORS[scale], rate.spread, newcomers[SHARE], False)
                told += 1
            if climb.alarm != 0 and climb.told >= downweight_at:
                sums = climb.peak_sums
                side = suspicious_side(sums[COUNT], sums[VALUE], sums[USUAL])
                if side * (values[row] - sums[USUAL] / sums[COUNT]) >= 0.0:
                    scores[row] = max(scores[row], climb.told)
        if not _busy(climbs):
            target.shift = target.shift * _SHIFT_FADES + values[row] - values_usual[kinds[row], _MEAN]
            target.valued = target.valued * _SHIFT_FADES + 1.0
            _learn_value(values_usual, kinds[row], values[row])
            learn_share(newcomers, newcomer)
    counts[_TOLD] = told
    return len(times_ms)
