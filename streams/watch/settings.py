"""Bounds of the watch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.settings import SlowBurstSettings

_DAY_MS = 86_400_000
_FEW = 1 << 10


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How the watch reads and what it keeps.

    idle_ms: a partition that gave nothing for so long is not waited for when events are put into the order of their
    times. waiting_events_max: events that wait for that order; beyond, the oldest go on. snapshot_ms, readings_max,
    replayed_events_max: a snapshot of the state is written after so long, so many transactions or so many events, which
    bounds what a restart reads again. interval_ms: least time between transactions.
    """

    slow: SlowBurstSettings = field(default_factory=SlowBurstSettings)
    idle_ms: int = 2_000
    waiting_events_max: int = 200_000
    snapshot_ms: int = 3_600_000
    readings_max: int = 20_000
    replayed_events_max: int = 5_000_000
    interval_ms: int = 200

    def __post_init__(self) -> None:
        for name, low, high in (
            ("idle_ms", 0, 600_000),
            ("waiting_events_max", 1, 10_000_000),
            ("snapshot_ms", 1_000, 7 * _DAY_MS),
            ("readings_max", 1, 1_000_000),
            ("replayed_events_max", 1, 1_000_000_000),
            ("interval_ms", 0, 60_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"watch.{name}: {value} is out of range, {low} to {high}")

    def of_dimension(self, dimension: str) -> SlowBurstSettings:
        """Return the settings of the scorer that goes by this; there are few sources and segments, and most subjects
        are silent soon."""
        few = min(_FEW, self.slow.targets_max)
        if dimension in ("source", "segment"):
            return replace(self.slow, targets_max=few)
        if dimension == "subject":
            return replace(self.slow, forget_after_ms=min(_DAY_MS, self.slow.forget_after_ms))
        return self.slow
