"""Finds targets that move in lockstep: the same actors do the same on both of them, at the same moment.

A step is two events of one actor on two targets within `lockstep_ms`. A few happen by chance, and a client that sends
what it kept while offline takes many, on ever other targets. Two targets are in lockstep when at least
`lockstep_actors_min` actors took the step between just these two, and steps are at least half of what the less busy one
got meanwhile: a copy under a second name, or accounts driven by one hand. What loses weight is the later event of each
step: one deed counts once.

Memory is fixed: 40 bytes for each of `actors_max`, 96 for each of `pairs_max`, 4 for each of `targets_max`, and touched
only as used. An actor's last event may be overwritten by another actor's, and a pair may find no place: a step is
missed then. Deterministic in the order of events; how they are cut into blocks does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from rheostat.streams.compiled import BOOLS, LONGS, WORDS, compiled
from rheostat.streams.intake.bursts import Events
from rheostat.streams.intake.settings import SlowBurstSettings

_SHARE = 0.5
_TRIED = 8
_LOG, _LOG_ROOM = 1_024, 4
_NUMBERED, _TOLD = range(2)
"""Places in the counts: pairs so far, and how full the log is."""

_BITS = np.uint64(63)
_ONE, _NONE = np.uint64(1), np.uint64(0)
_MIX = np.uint64(0x9E3779B97F4A7C15)

_LAST = np.dtype(
    [("actor", "u8"), ("low", "u8"), ("high", "u8"), ("ms", "i8"), ("used", "i8")],
    align=True,
)
"""The last event of an actor: on which target and when."""

_PAIR = np.dtype(
    [
        ("low", "u8"),
        ("high", "u8"),
        ("other_low", "u8"),
        ("other_high", "u8"),
        ("start_ms", "i8"),
        ("end_ms", "i8"),
        ("detected_ms", "i8"),
        ("number", "i8"),
        ("steps", "i8"),
        ("told", "i8"),
        ("actors", "u8"),
        ("before", "u4"),
        ("other_before", "u4"),
    ],
    align=True,
)
"""Two targets (the first has the smaller fingerprint) and their steps. actors: one bit of 64 for each, by its hash.
before: events of each target before the first step. number 0: an empty place. told: steps when it was last told."""

_LAST_TYPE: Any = from_dtype(_LAST)
_PAIR_TYPE: Any = from_dtype(_PAIR)


class LockstepAlarm(NamedTuple):
    """Two targets in lockstep as they stand; of two alarms with one number the later holds.

    low, high, other_low, other_high: their fingerprints. start_ms, end_ms: from the first step to just behind the last.
    actors: how many took a step, counted up to about 64.
    """

    number: int
    low: int
    high: int
    other_low: int
    other_high: int
    start_ms: int
    end_ms: int
    detected_ms: int
    steps: int
    actors: int

    @property
    def reason(self) -> str:
        """Why, in plain words."""
        return (
            f"lockstep: {self.steps} times one actor did the same on this target and on another within a moment, "
            f"{self.actors} different actors; each deed counts once"
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """What is told of a run of events.

    pair: number of the pair of which each event is the later half of a step, 0 for none. in_lockstep: that pair has
    been found to be in lockstep by then. Steps before that are known by their number once the alarm names it.
    """

    pair: NDArray[np.int64]
    in_lockstep: NDArray[np.bool_]
    alarms: list[LockstepAlarm]


class Lockstep:
    """Watches actors and targets."""

    def __init__(self, settings: SlowBurstSettings) -> None:
        self._settings = settings
        self._lasts = np.zeros(settings.actors_max, _LAST)
        self._pairs = np.zeros(settings.pairs_max, _PAIR)
        self._events = np.zeros(settings.targets_max, np.uint32)
        self._count = np.zeros(2, np.int64)
        self._log = np.zeros(_LOG, _PAIR)

    def number_from(self, first: int) -> None:
        """Number the pairs to come from here on."""
        self._count[_NUMBERED] = first - 1

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return all that is known, as the arrays in use: to be kept, and to be filled again."""
        return {"lasts": self._lasts, "pairs": self._pairs, "events": self._events, "count": self._count}

    def score(self, events: Events) -> Steps:
        """Take in events in their order."""
        settings = self._settings
        pair, found, alarms, row = np.zeros(len(events), np.int64), np.zeros(len(events), np.bool_), [], 0
        while row < len(events):
            row = _step(
                *(self._lasts, self._pairs, self._events, self._count, self._log),
                *(events.targets.low, events.targets.high, events.targeted),
                *(events.actors.low, events.known, events.times_ms),
                *(settings.lockstep_ms, settings.lockstep_actors_min, settings.forget_after_ms),
                *(row, pair, found),
            )
            alarms += [_alarm(each) for each in self._log[: self._count[_TOLD]]]
        return Steps(pair, found, alarms)

    def open_alarms(self) -> list[LockstepAlarm]:
        """Return the pairs in lockstep as they stand now, by number."""
        return sorted(_alarm(each) for each in self._pairs[self._pairs["told"] > 0])


def _alarm(pair: Any) -> LockstepAlarm:
    facts = {name: int(pair[name]) for name in LockstepAlarm._fields}
    return LockstepAlarm(**facts | {"actors": facts["actors"].bit_count()})


@compiled(types.int64(types.uint64))
def _ones(bits: int) -> int:
    """Return how many bits are set."""
    count, left = 0, np.uint64(bits)
    while left != _NONE:
        left &= left - _ONE
        count += 1
    return count


@compiled(
    types.int64(_PAIR_TYPE[::1], types.uint64, types.uint64, types.uint64, types.uint64, types.int64, types.int64)
)
def _place(pairs: Any, low: int, high: int, other_low: int, other_high: int, now_ms: int, free_ms: int) -> np.int64:
    """Return the place of a pair, `place - len(pairs)` if it is to be taken, or `len(pairs)` if there is none."""
    hashed = (low ^ (other_high * _MIX)) * _MIX
    silent = np.int64(-1)
    for step in range(_TRIED):
        place = np.int64(((hashed >> np.uint64(20)) + np.uint64(step)) & np.uint64(len(pairs) - 1))
        pair = pairs[place]
        if pair.number == 0:
            silent = place
            break
        if pair.low == low and pair.high == high and pair.other_low == other_low and pair.other_high == other_high:
            return place
        if now_ms - pair.end_ms > free_ms and (silent < 0 or pair.end_ms < pairs[silent].end_ms):
            silent = place
    return np.int64(silent - len(pairs) if silent >= 0 else len(pairs))


@compiled(
    types.int64(
        *(_LAST_TYPE[::1], _PAIR_TYPE[::1], types.uint32[::1], types.int64[::1], _PAIR_TYPE[::1]),
        *(WORDS, WORDS, BOOLS, WORDS, BOOLS, LONGS),
        *(types.int64, types.int64, types.int64, types.int64, types.int64[::1], types.boolean[::1]),
    )
)
def _step(
    lasts: Any,
    pairs: Any,
    events: NDArray[np.uint32],
    count: NDArray[np.int64],
    log: Any,
    target_low: NDArray[np.uint64],
    target_high: NDArray[np.uint64],
    targeted: NDArray[np.bool_],
    actor_low: NDArray[np.uint64],
    actor_known: NDArray[np.bool_],
    times_ms: NDArray[np.int64],
    lockstep_ms: int,
    actors_min: int,
    free_ms: int,
    first_row: int,
    pair_of: NDArray[np.int64],
    in_lockstep: NDArray[np.bool_],
) -> int:
    """Take in events from a row on, until the log might become too full; return the next row."""
    told = 0
    slots = np.uint64(len(events) - 1)
    for row in range(first_row, len(times_ms)):
        if told + _LOG_ROOM > len(log):
            count[_TOLD] = told
            return row
        if not targeted[row]:
            continue
        now_ms = times_ms[row]
        events[target_low[row] & slots] += np.uint32(1)
        if not actor_known[row]:
            continue
        last = lasts[actor_low[row] & np.uint64(len(lasts) - 1)]
        mine = last.used != 0 and last.actor == actor_low[row]
        elsewhere = last.low != target_low[row] or last.high != target_high[row]
        near = mine and elsewhere and abs(now_ms - last.ms) <= lockstep_ms
        low, high, other_low, other_high = last.low, last.high, target_low[row], target_high[row]
        last.actor, last.low, last.high, last.ms, last.used = actor_low[row], other_low, other_high, now_ms, 1
        if not near:
            continue
        if other_low < low:
            low, high, other_low, other_high = other_low, other_high, low, high
        place = _place(pairs, low, high, other_low, other_high, now_ms, free_ms)
        if place == len(pairs):
            continue
        if place < 0:
            place += len(pairs)
            new = pairs[place]
            if new.told > 0:
                log[told] = new
                told += 1
            count[_NUMBERED] += 1
            new.low, new.high, new.other_low, new.other_high = low, high, other_low, other_high
            new.start_ms, new.end_ms, new.detected_ms, new.number = now_ms, now_ms + 1, 0, count[_NUMBERED]
            new.steps, new.told, new.actors = 0, 0, _NONE
            new.before, new.other_before = events[low & slots], events[other_low & slots]
        pair = pairs[place]
        pair.steps += 1
        pair.end_ms = max(pair.end_ms, now_ms + 1)
        pair.actors |= _ONE << ((actor_low[row] >> np.uint64(32)) & _BITS)
        pair_of[row] = pair.number
        got = min(events[low & slots] - pair.before, events[other_low & slots] - pair.other_before) + 1
        if pair.told == 0 and _ones(pair.actors) >= actors_min and pair.steps >= _SHARE * got:
            pair.detected_ms = now_ms
        if pair.detected_ms != 0 and pair.steps >= 2 * pair.told:
            pair.told = pair.steps
            log[told] = pair
            told += 1
        in_lockstep[row] = pair.detected_ms != 0
    count[_TOLD] = told
    return len(times_ms)
