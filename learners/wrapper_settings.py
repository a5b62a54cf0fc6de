"""How learners around a learner work: timescales, replay, anchor, weights. Only settings: reading them is cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass

TICKS_PER_HALF_LIFE = 32
"""The surface decays in steps of so many to a half-life: by 2 % each."""

_HALF_DAY_MS = 43_200_000


@dataclass(frozen=True, slots=True)
class TimescaleSettings:
    """How long the surface holds, and what the core takes.

    half_life_ms: after this event time half of the surface is left. period_ms, agreeing_periods: the core takes what
    was learned anew in so many periods in a row. period_rows_min: a period goes on until it has brought so many rows.
    The state holds agreeing_periods + 1 times the parameters besides.
    """

    half_life_ms: int = _HALF_DAY_MS
    period_ms: int = _HALF_DAY_MS
    agreeing_periods: int = 4
    period_rows_min: int = 100

    def __post_init__(self) -> None:
        if self.half_life_ms < TICKS_PER_HALF_LIFE or self.period_ms < self.half_life_ms // TICKS_PER_HALF_LIFE:
            least = f"half_life_ms >= {TICKS_PER_HALF_LIFE} and period_ms >= half_life_ms / {TICKS_PER_HALF_LIFE}"
            raise ValueError(f"need {least}, got {self.half_life_ms} and {self.period_ms}")
        if not 1 <= self.agreeing_periods <= 64 or self.period_rows_min < 0:
            raise ValueError("need agreeing_periods in [1, 64] and period_rows_min >= 0")

    @property
    def lost_per_period(self) -> float:
        """The share of the surface that decays in a period."""
        return float(1.0 - 2.0 ** (-self.period_ms / self.half_life_ms))


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What is kept, and how much of it is learned again.

    rows_per_stratum, strata_max, horizon_rows: see `reservoir`; a row takes 8 * (features) + 48 bytes. ratio: rows
    learned again for each new one. weight: a row learned again has its own weight times this. batch_rows: new rows
    after which some are learned again. seed: of the draws.
    """

    rows_per_stratum: int = 500
    strata_max: int = 64
    horizon_rows: int | None = None
    ratio: float = 0.5
    weight: float = 1.0
    batch_rows: int = 32
    seed: int = 1

    def __post_init__(self) -> None:
        if not (0.0 <= self.ratio <= 100.0 and 0.0 < self.weight < math.inf):
            raise ValueError("need ratio in [0, 100] and weight > 0")


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """How strongly a learner is held, and by what.

    half_life_rows: rows after which half of the way back to the anchor is gone, were nothing learned. elastic: weigh
    parameters by their Fisher information. every_rows: rows between two pulls. renew_ms: event time after which the
    learner is anchored where it then is; None: only when it is told to.
    """

    half_life_rows: float = 10_000.0
    elastic: bool = False
    every_rows: int = 256
    renew_ms: int | None = None

    def __post_init__(self) -> None:
        if not self.half_life_rows > 0.0 or self.every_rows < 1 or (self.renew_ms is not None and self.renew_ms < 1):
            raise ValueError("need half_life_rows > 0, every_rows >= 1 and renew_ms >= 1")


@dataclass(frozen=True, slots=True)
class ReweightingSettings:
    """What rows count by how they were chosen and where they come from, see `reweighted`.

    propensity_floor: smaller propensities count as this. self_normalised: divide by the mean factor, so that rows count
    as much as without. stratum_share_max: of all influence, for one stratum; 1: strata are left as they come. Needs
    1 / stratum_share_max strata; fewer share alike. stratum_factor_max: no stratum's rows are multiplied by more, or
    divided by more. memory_rows: rows that shares and means are over. strata_max: those known at a time, one of them
    all that came when there was no more room.
    """

    propensity_floor: float = 0.05
    self_normalised: bool = True
    stratum_share_max: float = 1.0
    stratum_factor_max: float = 10.0
    memory_rows: int = 10_000
    strata_max: int = 64

    def __post_init__(self) -> None:
        if not (0.0 < self.propensity_floor <= 1.0 and 0.0 < self.stratum_share_max <= 1.0):
            raise ValueError("need propensity_floor and stratum_share_max in (0, 1]")
        if not (1.0 <= self.stratum_factor_max <= 1e6 and 2 <= self.strata_max <= 1_024 and self.memory_rows >= 100):
            raise ValueError("need stratum_factor_max in [1, 1e6], strata_max in [2, 1024] and memory_rows >= 100")
