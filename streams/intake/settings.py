"""Bounds and thresholds of intake."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.sources import SourceSettings

_DAY_MS = 86_400_000
PSEUDONYM_KEY_BYTES_MIN = 16
PSEUDONYM_KEY_BYTES_MAX = 64
RELIABILITY_HALFLIFE_MAX = 32_767
"""So that counts of pairs fit 16 bits in what travels with a commit."""

ConflictPolicy = Literal["explicit-first", "latest", "weighted-vote", "keep-all"]


@dataclass(frozen=True, slots=True)
class BurstSettings:
    """When many events on one target are suspicious, within one partition.

    events_min: events in one second of event time below which a target is never looked at.
    floor_per_s: the rate every target is allowed at least, whatever its own past.
    baseline_ms: time constant of a target's usual rate. actor_events_min: earlier events on calm targets from which
    on an actor counts as established. downweight_at, quarantine_at: suspicion, 0 to 1.
    targets_max, actors_max: size of the two tables (powers of two), which bounds their memory.
    """

    events_min: int = 12
    floor_per_s: float = 1.0
    baseline_ms: int = 300_000
    actor_events_min: int = 3
    downweight_at: float = 0.5
    quarantine_at: float = 0.8
    targets_max: int = 1 << 16
    actors_max: int = 1 << 20

    def __post_init__(self) -> None:
        _in_range("bursts.events_min", self.events_min, 2, 1_000_000)
        _in_range("bursts.floor_per_s", self.floor_per_s, 0.001, 1e6)
        _in_range("bursts.baseline_ms", self.baseline_ms, 1_000, 30 * _DAY_MS)
        _in_range("bursts.actor_events_min", self.actor_events_min, 1, 1_000)
        _in_range("bursts.downweight_at", self.downweight_at, 0.0, 1.0)
        _in_range("bursts.quarantine_at", self.quarantine_at, self.downweight_at, 1.0)
        for name, value in (("targets_max", self.targets_max), ("actors_max", self.actors_max)):
            _in_range(f"bursts.{name}", value, 1 << 8, 1 << 28)
            if value & (value - 1):
                raise ConfigError(f"bursts.{name}: {value} is not a power of two")


@dataclass(frozen=True, slots=True)
class SlowBurstSettings:
    """When bursts of hours and days, and targets in lockstep, are told of.

    alarms_per_target_month: the budget of false alarms. halflife_ms: of what is learned about a target's usual rate.
    downweight_at, quarantine_at: suspicion, 0 to 1. forget_after_ms: silence after which a target's place may be taken.
    lockstep_ms: how soon after each other one actor's events on two targets are a step; lockstep_actors_min: actors
    that must have taken it. targets_max, actors_max, pairs_max: size of the tables (powers of two), which bounds their
    memory.
    """

    alarms_per_target_month: float = 1.0
    halflife_ms: int = 14 * _DAY_MS
    downweight_at: float = 0.5
    quarantine_at: float = 0.8
    forget_after_ms: int = 30 * _DAY_MS
    lockstep_ms: int = 1_000
    lockstep_actors_min: int = 3
    targets_max: int = 1 << 14
    actors_max: int = 1 << 20
    pairs_max: int = 1 << 14

    def __post_init__(self) -> None:
        _in_range("slow_bursts.alarms_per_target_month", self.alarms_per_target_month, 0.001, 100.0)
        _in_range("slow_bursts.halflife_ms", self.halflife_ms, _DAY_MS, 365 * _DAY_MS)
        _in_range("slow_bursts.downweight_at", self.downweight_at, 0.01, 1.0)
        _in_range("slow_bursts.quarantine_at", self.quarantine_at, self.downweight_at, 1.0)
        _in_range("slow_bursts.forget_after_ms", self.forget_after_ms, _DAY_MS, 3_650 * _DAY_MS)
        _in_range("slow_bursts.lockstep_ms", self.lockstep_ms, 0, _DAY_MS)
        _in_range("slow_bursts.lockstep_actors_min", self.lockstep_actors_min, 2, 1_000_000)
        for name in ("targets_max", "actors_max", "pairs_max"):
            value = getattr(self, name)
            _in_range(f"slow_bursts.{name}", value, 1 << 8, 1 << 28)
            if value & (value - 1):
                raise ConfigError(f"slow_bursts.{name}: {value} is not a power of two")


@dataclass(frozen=True, slots=True)
class WeightSettings:
    """How much events count, within one partition.

    actor_weight_per_hour: what one actor may weigh in an hour of event time; a person who judges something every two
    seconds gives 1,800 an hour, spread over the partitions. recency_halflife_ms: how old an event is when it comes if
    it counts half; 0 is off, since with it a weight depends on when an event was read.
    reliability_floor: the least that a source's disagreement with outcomes leaves of its weights. reliability_prior:
    pairs in which every source counts as having agreed. reliability_halflife: pairs after which older ones count half.
    outcome_sources: whose outcomes rate other sources; empty for all.
    conflict_policy, conflict_margin: see `conflicts.py`. conflict_window_ms (at most `dedup_window_ms` counts) and
    conflict_signals_max (a power of two): how far back in the ledger contradictions are found.
    """

    actor_weight_per_hour: float = 600.0
    recency_halflife_ms: int = 0
    reliability_floor: float = 0.1
    reliability_prior: float = 20.0
    reliability_halflife: int = 4_096
    outcome_sources: tuple[str, ...] = ()
    conflict_policy: ConflictPolicy = "explicit-first"
    conflict_margin: float = 0.1
    conflict_window_ms: int = _DAY_MS
    conflict_signals_max: int = 1 << 15

    def __post_init__(self) -> None:
        _in_range("weights.actor_weight_per_hour", self.actor_weight_per_hour, 0.001, 1e12)
        _in_range("weights.recency_halflife_ms", self.recency_halflife_ms, 0, 3_650 * _DAY_MS)
        _in_range("weights.reliability_floor", self.reliability_floor, 0.0, 1.0)
        _in_range("weights.reliability_prior", self.reliability_prior, 1.0, 1e6)
        _in_range("weights.reliability_halflife", self.reliability_halflife, 16, RELIABILITY_HALFLIFE_MAX)
        _in_range("weights.conflict_margin", self.conflict_margin, 0.0, 0.5)
        _in_range("weights.conflict_window_ms", self.conflict_window_ms, 1, 30 * _DAY_MS)
        _in_range("weights.conflict_signals_max", self.conflict_signals_max, 1 << 8, 1 << 24)
        if self.conflict_signals_max & (self.conflict_signals_max - 1):
            raise ConfigError(f"weights.conflict_signals_max: {self.conflict_signals_max} is not a power of two")


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Everything intake is told. Times in ms of event time; `dedup_ids_max` is for each partition.

    The pseudonym of a subject is `<pseudonym_epoch>-<16 hex digits>`: change the epoch together with the key.
    """

    pseudonym_key: bytes = field(repr=False)
    pseudonym_epoch: int = 1
    record_bytes_max: int = 65_536
    text_chars_max: int = 8_192
    max_past_ms: int = 30 * _DAY_MS
    max_future_ms: int = 300_000
    dedup_window_ms: int = _DAY_MS
    dedup_ids_max: int = 10_000_000
    bursts_enabled: bool = True
    bursts: BurstSettings = field(default_factory=BurstSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)

    def __post_init__(self) -> None:
        size = len(self.pseudonym_key)
        if not PSEUDONYM_KEY_BYTES_MIN <= size <= PSEUDONYM_KEY_BYTES_MAX:
            raise ConfigError(
                f"pseudonym_key: has {size} bytes, must have {PSEUDONYM_KEY_BYTES_MIN} to {PSEUDONYM_KEY_BYTES_MAX}"
            )
        _in_range("pseudonym_epoch", self.pseudonym_epoch, 0, 1_000_000)
        _in_range("record_bytes_max", self.record_bytes_max, 64, 16 * 1024 * 1024)
        _in_range("text_chars_max", self.text_chars_max, 0, 1_000_000)
        _in_range("max_past_ms", self.max_past_ms, 1, 3_650 * _DAY_MS)
        _in_range("max_future_ms", self.max_future_ms, 0, _DAY_MS)
        _in_range("dedup_window_ms", self.dedup_window_ms, 1, 30 * _DAY_MS)
        _in_range("dedup_ids_max", self.dedup_ids_max, 1, 1_000_000_000)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value} is out of range, {low} to {high}")
