"""The loss that counts as normal: a bound m0 on the mean, fixed before the losses it judges, with a margin.

From a reference window of n losses in [0, 1] with mean m and variance V, the mean is at most m + r with probability
1 - delta, by the empirical Bernstein bound of Maurer and Pontil (2009), theorem 4:

    r = sqrt(2 V ln(2 / delta) / n) + 7 ln(2 / delta) / (3 (n - 1))

and m0 = m + r + margin. `delta` is the chance that the normal loss itself is above m0 - margin; it comes on top of the
detector's false alarms. `margin` is the rise that is not worth an alarm.

A bound that follows the losses would follow the damage, too. So a new window replaces the bound only if it is lower,
or after `renew_events` events in a row without an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """How a baseline is made and renewed; bounds in events."""

    reference_events: int = 2_000
    renew_events: int = 50_000
    delta: float = 0.01
    margin: float = 0.02

    def __post_init__(self) -> None:
        if self.reference_events < 2 or self.renew_events < self.reference_events:
            raise ValueError("need 2 <= reference_events <= renew_events")
        if not 0.0 < self.delta < 1.0 or not 0.0 <= self.margin < 1.0:
            raise ValueError(f"need 0 < delta < 1 and 0 <= margin < 1, got {self.delta} and {self.margin}")


@dataclass(frozen=True, slots=True)
class Baseline:
    """The bound in use, and the window that may become the next one.

    m0: None until the first reference window is complete. count, total, squares: the window so far.
    healthy_events: events since the bound was set or an alarm was raised.
    """

    m0: float | None = None
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    healthy_events: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as what JSON can hold."""
        return {
            "m0": self.m0,
            "count": self.count,
            "total": self.total,
            "squares": self.squares,
            "healthy_events": self.healthy_events,
        }

    @staticmethod
    def from_json(state: Mapping[str, Any]) -> Baseline:
        """Return the state that `to_json` wrote; KeyError, TypeError or ValueError if it is not one."""
        m0 = None if state["m0"] is None else float(state["m0"])
        sums = float(state["total"]), float(state["squares"])
        return Baseline(m0, int(state["count"]), *sums, int(state["healthy_events"]))


def observe_reference(rule: BaselineRule, baseline: Baseline, count: int, total: float, squares: float) -> Baseline:
    """Return the baseline after a block of `count` losses in [0, 1], their sum and sum of squares.

    The block must have been judged with the old bound first: the new one is for later blocks. Do not pass blocks
    while an alarm is raised; call `interrupted` instead.
    """
    if count < 0 or not -1e-9 <= squares <= total + 1e-9 or total > count * (1 + 1e-9):
        raise ValueError(f"{count} losses in [0, 1] cannot have the sums {total} and {squares}")
    window = replace(
        baseline,
        count=baseline.count + count,
        total=baseline.total + total,
        squares=baseline.squares + squares,
        healthy_events=baseline.healthy_events + count,
    )
    if window.count < rule.reference_events:
        return window
    bound = upper_bound(window.count, window.total, window.squares, rule.delta) + rule.margin
    bound = min(max(bound, 1e-6), 1.0 - 1e-6)
    if window.m0 is None or bound < window.m0 or window.healthy_events >= rule.renew_events:
        return Baseline(m0=bound)
    return Baseline(m0=window.m0, healthy_events=window.healthy_events)


def interrupted(baseline: Baseline) -> Baseline:
    """Return the baseline when an alarm was raised: the bound stays, the window and the healthy run begin anew."""
    return Baseline(m0=baseline.m0)


def upper_bound(count: int, total: float, squares: float, delta: float) -> float:
    """Return a bound that the mean exceeds with probability at most `delta`; at least two losses in [0, 1]."""
    mean = total / count
    variance = max(squares - total * mean, 0.0) / (count - 1)
    log_term = math.log(2.0 / delta)
    return mean + math.sqrt(2.0 * variance * log_term / count) + 7.0 * log_term / (3.0 * (count - 1))
