"""What is told of a burst of hours or days: an alarm, first and as it is revised."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype

ALARM = np.dtype(
    [
        ("number", "i8"),
        ("low", "u8"),
        ("high", "u8"),
        ("factor", "f8"),
        ("start_ms", "i8"),
        ("end_ms", "i8"),
        ("detected_ms", "i8"),
        ("score", "f8"),
        ("suspicion", "f8"),
        ("side", "f8"),
        ("middle", "f8"),
        ("events", "f8"),
        ("expected", "f8"),
        ("newcomers", "f8"),
        ("newcomers_usual", "f8"),
        ("value", "f8"),
        ("value_usual", "f8"),
        ("over", "b1"),
    ],
    align=True,
)
ALARM_TYPE: Any = from_dtype(ALARM)


class SlowAlarm(NamedTuple):
    """One alarm as it stands: the later of two with the same number holds.

    low, high: fingerprint of the target (low is made odd). factor: how many times the usual rate the climb looked for.
    start_ms, end_ms: the burst, from its onset to just behind its last rise. detected_ms: event time at which it was
    raised. score: nats. suspicion: 0 to 1. side: -1 when only values below `middle` are suspicious, 1 when only those
    above it are, 0 when all are. events and expected are counts; newcomers and value are means over the burst, each
    with what is usual. over: it will not be revised any more.
    """

    number: int
    low: int
    high: int
    factor: float
    start_ms: int
    end_ms: int
    detected_ms: int
    score: float
    suspicion: float
    side: float
    middle: float
    events: float
    expected: float
    newcomers: float
    newcomers_usual: float
    value: float
    value_usual: float
    over: bool

    @property
    def reason(self) -> str:
        """Why, in plain words."""
        return self.told("on this target")

    def told(self, where: str, *, acts: bool = True) -> str:
        """Say why, in plain words: what the events have in common, and which lose weight where the alarm acts."""
        hours = (self.end_ms - self.start_ms) / 3_600_000
        what = "slow burst" if self.suspicion < 0.5 else "suspicious slow burst"
        side = {-1.0: "below", 1.0: "above"}.get(self.side)
        return (
            f"{what}: {self.events:.0f} events {where} in {_span(hours)}, usual are {self.expected:.1f}; "
            f"{self.newcomers:.0%} from actors never seen before, usual are {self.newcomers_usual:.0%}; "
            f"mean value {self.value:.2f}, usual is {self.value_usual:.2f}"
            + (f"; only values {side} {self.middle:.2f} lose weight" if acts and side and self.suspicion >= 0.5 else "")
        )


def _span(hours: float) -> str:
    if hours < 1:
        return f"{max(hours * 60, 1):.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.1f} days"
