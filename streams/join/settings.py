"""What the join must be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rheostat.streams.errors import ConfigError

WINDOW_MS_MAX = 7 * 86_400_000
"""Half of what `predictions` keeps: a restart reads up to two windows back."""

Reward = Literal["each", "earliest", "latest", "sum", "mean", "min", "max"]
"""What all signals on one prediction are worth together, see `rewards`."""


@dataclass(frozen=True, slots=True)
class Spill:
    """When what waits goes to disk, and where to: see `values`."""

    after_bytes: int = 64 << 20
    bytes_max: int = 16 << 30
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Bounds of the join, and what signals are worth; counts are per partition.

    A record waits for its partner until event time has moved on by `window_ms`. A prediction without any feedback by
    then becomes an example with `default_label` and `default_weight`; None: it says nothing. For `late_ms` more it is
    kept for feedback that comes later still, which takes the default back.

    What waits is kept as encoded: in memory while that takes at most `spill_after_bytes` of each side (0: nothing
    stays), then in nameless files in `spill_dir`, see `scratch`, of at most `spill_bytes_max`. Where they have no room
    the process ends; the log has everything. A waiting record takes about 90 bytes of memory besides: measured with
    10 million.
    """

    window_ms: int = 30 * 60_000
    late_ms: int = 0
    reward: Reward = "each"
    default_label: float | None = None
    default_weight: float = 1.0
    waiting_predictions_max: int = 10_000_000
    waiting_feedback_max: int = 1_000_000
    spill_after_bytes: int = 64 << 20
    spill_bytes_max: int = 16 << 30
    spill_dir: str | None = None

    def __post_init__(self) -> None:
        _in_range("window_ms", self.window_ms, 1, WINDOW_MS_MAX)
        _in_range("late_ms", self.late_ms, 0, WINDOW_MS_MAX - self.window_ms)
        _in_range("waiting_predictions_max", self.waiting_predictions_max, 1, 100_000_000)
        _in_range("waiting_feedback_max", self.waiting_feedback_max, 1, 10_000_000)
        _in_range("spill_after_bytes", self.spill_after_bytes, 0, 1 << 40)
        _in_range("spill_bytes_max", self.spill_bytes_max, 0, 1 << 44)
        _in_range("default_weight", self.default_weight, 0, 1_000)
        if self.default_label is not None:
            _in_range("default_label", self.default_label, 0, 1)

    @property
    def spill(self) -> Spill:
        """When what waits goes to disk, and where to."""
        return Spill(self.spill_after_bytes, self.spill_bytes_max, self.spill_dir)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"join.{name}: {value} is out of range, {low} to {high}")
