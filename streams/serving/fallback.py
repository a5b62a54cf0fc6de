"""What is answered for a model whose version has become too old."""

from __future__ import annotations

import math
from dataclasses import dataclass

FALLBACK = "fallback"
"""The flag of predictions that no version was asked for."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """For a version published more than `age_max_ms` ago, unless somebody froze or pinned it.

    score: answered to everyone, in [0, 1], such as the share of positive labels; a model that chooses gives every
    eligible action the same chance then. None: nothing is answered.
    """

    age_max_ms: int
    score: float | None = None

    def __post_init__(self) -> None:
        if self.age_max_ms < 1:
            raise ValueError(f"age_max_ms: {self.age_max_ms}, must be at least 1")
        if self.score is not None and not (math.isfinite(self.score) and 0.0 <= self.score <= 1.0):
            raise ValueError(f"score: {self.score}, must be in [0, 1]")
