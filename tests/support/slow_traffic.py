"""Simulated traffic of weeks: ordinary targets with a daily rhythm, and what may be laid over it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.intake.bursts import Events, events_of
from rheostat.streams.intake.settings import SlowBurstSettings
from rheostat.streams.intake.slow_alarm import SlowAlarm
from rheostat.streams.intake.slow_bursts import SlowBursts

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
T0_MS = 1_760_054_400_000
"""A Friday, 00:00 UTC."""

SMALL = SlowBurstSettings(targets_max=1 << 8, actors_max=1 << 16, pairs_max=1 << 8)
_POOL = 2_000
_THUMB = NAMES.index("thumb")


@dataclass
class Traffic:
    """Rows of (time, target, actor, value), in any order; `events` sorts them."""

    rng: np.random.Generator
    times: list[NDArray[np.int64]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, target: str, times: NDArray[np.int64], actors: list[str], up: float) -> None:
        """Add events on one target: `up` is the share of those with value 1."""
        self.times.append(times)
        self.targets += [target] * len(times)
        self.actors += actors
        self.values += (self.rng.random(len(times)) < up).astype(float).tolist()

    def ordinary(
        self, target: str, days: float, per_day: float, *, start_ms: int = T0_MS, up: float = 0.7, uneven: float = 0.0
    ) -> None:
        """Add ordinary events, a third from actors who come once. `uneven`: of an hour's rate, deviation over mean."""
        hours = int(days * 24)
        shape = 1 + 0.8 * np.sin((np.arange(hours) % 24 - 12) / 24 * 2 * np.pi)
        if uneven:
            shape = shape * self.rng.gamma(uneven**-2, uneven**2, hours)
        counts = self.rng.poisson(per_day / 24 * shape)
        hour = np.repeat(np.arange(hours), counts)
        self.add(
            target, start_ms + hour * HOUR_MS + self.rng.integers(0, HOUR_MS, len(hour)), self.mixed(len(hour)), up
        )

    def burst(self, target: str, start_ms: int, hours: float, count: int, actors: list[str], up: float) -> None:
        """Add a burst, evenly over some hours."""
        self.add(target, start_ms + self.rng.integers(0, int(hours * HOUR_MS), count), actors, up)

    def regulars(self, count: int) -> list[str]:
        """Actors who come often."""
        return [f"regular-{each}" for each in self.rng.integers(0, _POOL, count)]

    def newcomers(self, count: int) -> list[str]:
        """Actors who never came before."""
        return [f"new-{each}" for each in self.rng.integers(0, 2**62, count)]

    def mixed(self, count: int) -> list[str]:
        """Two thirds regulars."""
        return [
            new if once else known
            for known, new, once in zip(
                self.regulars(count), self.newcomers(count), self.rng.random(count) < 1 / 3, strict=True
            )
        ]

    def events(self) -> tuple[Events, NDArray[np.object_]]:
        """Return events by time, and the target of each."""
        times = np.concatenate(self.times)
        order = np.argsort(times, kind="stable")
        take = pa.array(order)
        targets = pa.array(self.targets, pa.string()).take(take)
        actors = pa.array(self.actors, pa.string()).take(take)
        kinds = np.full(len(order), _THUMB, np.int32)
        found = events_of(targets, actors, kinds, np.array(self.values)[order], times[order])
        return found, np.asarray(targets.to_numpy(zero_copy_only=False))


def month(seed: int, days: float = 30, targets: int = 20) -> Traffic:
    """Ordinary traffic of some targets, 3 to 40 events a day."""
    traffic = Traffic(np.random.default_rng(seed))
    for each in range(targets):
        traffic.ordinary(f"item-{each}", days, 40 / (1 + each) ** 0.5 if each else 40)
    return traffic


def last_words(
    events: Events, settings: SlowBurstSettings = SMALL, cuts: tuple[int, ...] = ()
) -> tuple[list[SlowAlarm], SlowBursts, NDArray[np.float64]]:
    """Score events cut at some rows; return each alarm as last told, the scorer, and the suspicion of events then."""
    scorer = SlowBursts(settings)
    found: dict[int, SlowAlarm] = {}
    parts = []
    for rows in np.split(np.arange(len(events)), cuts):
        scores = scorer.score(events.take(rows))
        parts.append(scores.suspicion)
        found.update((alarm.number, alarm) for alarm in scores.alarms)
    found.update((alarm.number, alarm) for alarm in scorer.open_alarms())
    return sorted(found.values()), scorer, np.concatenate(parts)


def of_target(alarms: list[SlowAlarm], events: Events, targets: NDArray[np.object_], name: str) -> list[SlowAlarm]:
    """Return the alarms of one target."""
    low = int(events.targets.low[np.flatnonzero(targets == name)[0]]) | 1
    return [alarm for alarm in alarms if alarm.low == low]
