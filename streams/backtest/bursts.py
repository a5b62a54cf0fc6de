"""Runs the burst detectors of intake over a history and says what they would have done, and how well that was.

The history goes through block by block, in event time. Afterwards every event has the weight that the last word of each
alarm gives it, which is what a correction makes of it in the pipeline; `detected_at` says since when that could be
known. Labels are looked at only after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.streams.backtest.history import History
from rheostat.streams.intake.lockstep import Lockstep, LockstepAlarm
from rheostat.streams.intake.settings import SlowBurstSettings
from rheostat.streams.intake.slow_alarm import SlowAlarm
from rheostat.streams.intake.slow_bursts import SlowBursts

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Progress = Callable[[int], None]

_BLOCK = 20_000
_ODD = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A flagged interval of one target. Times in epoch ms; end is the first moment behind it. Score in nats, or
    steps."""

    target: str
    start: int
    end: int
    detected_at: int
    score: float
    suspicion: float
    kind: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. `kept`: the share of its weight that each event of the history keeps."""

    intervals: list[Interval]
    kept: Floats
    unwatched: int
    report: dict[str, Any] = field(default_factory=dict)


def find_bursts(history: History, settings: SlowBurstSettings, progress: Progress = lambda done: None) -> Found:
    """Run the detectors; `progress` is told how many events are done."""
    slow, lockstep = SlowBursts(settings), Lockstep(settings)
    alarms: dict[int, SlowAlarm] = {}
    twins: dict[int, LockstepAlarm] = {}
    pairs = np.zeros(len(history), np.int64)
    for start in range(0, len(history), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(history)))
        events = history.events.take(rows)
        alarms.update((alarm.number, alarm) for alarm in slow.score(events).alarms)
        steps = lockstep.score(events)
        pairs[rows] = steps.pair
        twins.update((alarm.number, alarm) for alarm in steps.alarms)
        progress(int(rows[-1]) + 1)
    alarms.update((alarm.number, alarm) for alarm in slow.open_alarms())
    twins.update((alarm.number, alarm) for alarm in lockstep.open_alarms())
    by_target = _ByTarget(history)
    kept = np.ones(len(history))
    intervals = [*_slow_intervals(by_target, alarms.values(), settings, kept)]
    intervals += _lockstep_intervals(by_target, twins.values(), pairs, kept)
    intervals.sort(key=lambda each: (each.start, each.target, each.detected_at))
    return Found(intervals, kept, slow.unwatched)


class _ByTarget:
    """The rows of a target, given by its fingerprint."""

    def __init__(self, history: History) -> None:
        self.history = history
        low = history.events.targets.low | _ODD
        self._order = np.argsort(low, kind="stable")
        self._sorted = low[self._order]

    def rows(self, low: int, start_ms: int, end_ms: int) -> Rows:
        """Return its rows of an interval, by time."""
        first, last = (np.searchsorted(self._sorted, np.uint64(low | 1), side) for side in ("left", "right"))
        rows = self._order[first:last]
        times = self.history.events.times_ms[rows]
        return np.asarray(rows[np.searchsorted(times, start_ms) : np.searchsorted(times, end_ms)], np.intp)


def _slow_intervals(
    by_target: _ByTarget, alarms: Sequence[SlowAlarm] | Any, settings: SlowBurstSettings, kept: Floats
) -> Iterator[Interval]:
    """Yield an interval for each alarm, and take weight away from what is suspicious in it."""
    history = by_target.history
    for alarm in alarms:
        rows = by_target.rows(alarm.low, alarm.start_ms, alarm.end_ms)
        suspicious = rows[alarm.side * (history.events.values[rows] - alarm.middle) >= 0]
        if alarm.suspicion >= settings.downweight_at:
            keeps = 0.0 if alarm.suspicion >= settings.quarantine_at else 1.0 - alarm.suspicion
            kept[suspicious] = np.minimum(kept[suspicious], keeps)
        yield Interval(
            target=history.targets[int(rows[0])].as_py(),
            start=alarm.start_ms,
            end=alarm.end_ms,
            detected_at=alarm.detected_ms,
            score=round(alarm.score, 3),
            suspicion=round(alarm.suspicion, 4),
            kind="slow_burst",
            reasons=[alarm.reason, *_came_from(history, suspicious)],
        )


def _lockstep_intervals(
    by_target: _ByTarget, alarms: Sequence[LockstepAlarm] | Any, pairs: NDArray[np.int64], kept: Floats
) -> list[Interval]:
    """Return an interval for each target of a pair in lockstep; the later event of each step keeps nothing."""
    found, history = [], by_target.history
    numbers = np.array(sorted(alarm.number for alarm in alarms), np.int64)
    steps = np.isin(pairs, numbers)
    kept[steps] = 0.0
    for alarm in alarms:
        for low in (alarm.low, alarm.other_low):
            rows = by_target.rows(low, alarm.start_ms, alarm.end_ms)
            if len(rows):
                found.append(
                    Interval(
                        target=history.targets[int(rows[0])].as_py(),
                        start=alarm.start_ms,
                        end=alarm.end_ms,
                        detected_at=alarm.detected_ms,
                        score=float(alarm.steps),
                        suspicion=1.0,
                        kind="lockstep",
                        reasons=[alarm.reason],
                    )
                )
    return found


def _came_from(history: History, rows: Rows) -> Iterator[str]:
    """Say which source and which segment most events of an interval came from, if that is more than usual."""
    for name, column in (("source", history.source), ("segment", history.segment)):
        if column is None or not len(rows):
            continue
        values = column.take(pa.array(rows)).value_counts().to_pylist()
        top = max(values, key=lambda each: (each["counts"], str(each["values"])))
        if len(values) == 1 or top["counts"] > 0.5 * len(rows):
            yield f"{top['counts'] / len(rows):.0%} of it from {name} {top['values']!r}"


def as_flags(history: History, found: Found) -> dict[str, Any]:
    """Return what was found as JSON: intervals, and the weight of each event that does not keep all of it."""
    lost = np.flatnonzero(found.kept < 1.0)
    ids = history.ids.take(pa.array(lost)).to_pylist()
    weights = [
        {"event_id": each, "weight": round(weight, 4)}
        for each, weight in zip(ids, found.kept[lost].tolist(), strict=True)
    ]
    names = Interval.__slots__
    intervals = [{name: getattr(each, name) for name in names} for each in found.intervals]
    return {"intervals": intervals, "weights": weights, **summary(history, found)}


def summary(history: History, found: Found) -> dict[str, Any]:
    """Return counts, and precision and recall by weight where there are labels."""
    times = history.events.times_ms
    lost = 1.0 - found.kept
    told: dict[str, Any] = {
        "events": len(history),
        "targets": len(np.unique(history.events.targets.low)),
        "days": round(float(times[-1] - times[0]) / 86_400_000, 2),
        "alarms": len(found.intervals),
        "suspicious": sum(each.suspicion >= 0.5 for each in found.intervals),
        "weight_lost": round(float(lost.mean()), 6),
        "events_on_unwatched_targets": found.unwatched,
    }
    if history.attack is not None:
        attack = history.attack
        told["precision"] = _share(lost[attack].sum(), lost.sum())
        told["recall"] = _share(lost[attack].sum(), attack.sum())
        told["honest_weight_lost"] = _share(lost[~attack].sum(), (~attack).sum())
    return told


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 6) if whole else None
