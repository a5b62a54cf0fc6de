"""What the join must be told."""

from __future__ import annotations

from dataclasses import dataclass

from rheostat.streams.errors import ConfigError

WINDOW_MS_MAX = 7 * 86_400_000
"""Half of what `predictions` keeps: a restart reads up to two windows back."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Bounds of the join; counts are per partition.

    A record waits for its partner until event time has moved on by `window_ms`. A prediction without any feedback by
    then becomes an example with `default_label` and `default_weight`; None: it says nothing.
    """

    window_ms: int = 30 * 60_000
    default_label: float | None = None
    default_weight: float = 1.0
    waiting_predictions_max: int = 1_000_000
    waiting_feedback_max: int = 100_000

    def __post_init__(self) -> None:
        _in_range("window_ms", self.window_ms, 1, WINDOW_MS_MAX)
        _in_range("waiting_predictions_max", self.waiting_predictions_max, 1, 100_000_000)
        _in_range("waiting_feedback_max", self.waiting_feedback_max, 1, 10_000_000)
        _in_range("default_weight", self.default_weight, 0, 1_000)
        if self.default_label is not None:
            _in_range("default_label", self.default_label, 0, 1)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"join.{name}: {value} is out of range, {low} to {high}")
