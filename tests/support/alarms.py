"""An alarm for tests."""

from __future__ import annotations

from rheostat.streams.intake.alarms import Alarm

ALARM = Alarm(
    number=5,
    kind="slow_burst",
    dimension="target",
    id="item-1",
    other_id=None,
    start_ms=1_000,
    end_ms=2_000,
    detected_ms=1_500,
    over=False,
    score=20.0,
    suspicion=0.9,
    keeps=0.0,
    side=-1.0,
    middle=0.7,
    reason="because",
)
"""Open since second 1; values up to 0.7 on item-1 keep nothing."""
