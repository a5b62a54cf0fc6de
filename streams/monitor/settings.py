"""When a loss counts as worse, and how long a learner may be held."""

from __future__ import annotations

from dataclasses import dataclass

from rheostat.learners.prequential import LABEL_AGES
from rheostat.streams.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """Bounds of the monitor; losses are Brier losses, in [0, 1].

    enabled: False records verdicts and sends no command (a dry run). arl_events: events between false alarms, on
    average, at least. baseline_events: losses that make the normal loss; renew_events: healthy ones after which it may
    rise. effect: the rise that is not worth an alarm. margin_events: how far before the estimated onset to go back.
    recover_events: a restored model is trusted again when the mean loss of this many examples is normal. label_ages:
    the label ages that count as matured. rollbacks_per_hour_max: beyond it the model is frozen and a person paged.
    interval_ms: time between two transactions.
    """

    enabled: bool = True
    interval_ms: int = 200
    arl_events: int = 1_000_000
    baseline_events: int = 2_000
    renew_events: int = 100_000
    effect: float = 0.05
    margin_events: int = 200
    recover_events: int = 500
    max_hold_ms: int = 120_000
    ack_deadline_ms: int = 5_000
    no_data_ms: int = 60_000
    member_timeout_ms: int = 15_000
    command_ttl_ms: int = 60_000
    rollbacks_per_hour_max: int = 6
    label_ages: tuple[str, ...] = LABEL_AGES

    def __post_init__(self) -> None:
        _in_range("interval_ms", self.interval_ms, 0, 60_000)
        _in_range("arl_events", self.arl_events, 100, 10**15)
        _in_range("baseline_events", self.baseline_events, 2, self.renew_events)
        _in_range("effect", self.effect, 0.001, 0.5)
        _in_range("margin_events", self.margin_events, 0, 10**9)
        _in_range("recover_events", self.recover_events, 1, 10**9)
        for name in ("max_hold_ms", "ack_deadline_ms", "no_data_ms", "member_timeout_ms", "command_ttl_ms"):
            _in_range(name, getattr(self, name), 1, 86_400_000)
        _in_range("rollbacks_per_hour_max", self.rollbacks_per_hour_max, 1, 3_600)
        if unknown := sorted(set(self.label_ages) - set(LABEL_AGES)):
            raise ConfigError(f"monitor.label_ages: {unknown[0]!r} is not one of {', '.join(LABEL_AGES)}")


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"monitor.{name}: {value} is out of range, {low} to {high}")
