"""What a learn stage must be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rheostat.streams.models.manifest import Mode


@dataclass(frozen=True, slots=True)
class Golden:
    """An input whose score is known to be right in [least, most]: its features by name, as a request gives them."""

    features: Mapping[str, Any]
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= self.most <= 1.0:
            raise ValueError(f"golden: least {self.least} and most {self.most} must be in [0, 1], in this order")


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When a version is withheld from servers, see `streams.learn.gate`; losses are Brier losses, in [0, 1].

    enabled: False withholds nothing; what is not finite is not published all the same. from_examples: a model that has
    learned fewer is not compared with what was served, and owes golden inputs nothing. tolerance: how much larger the
    loss may be than that of what was served. hold_events, release_events: compared examples until a version is withheld
    without reason, and until one is released that is worse, on average, at least. magnitude_max: the largest parameter
    of a model that learns by steps, but for the scale of its inputs.
    """

    enabled: bool = True
    from_examples: int = 1_000
    tolerance: float = 0.02
    hold_events: int = 1_000_000
    release_events: int = 10_000
    magnitude_max: float = 1e6
    golden: tuple[Golden, ...] = ()

    def __post_init__(self) -> None:
        for name, least, most in (
            ("from_examples", 0, 10**12),
            ("tolerance", 0.0, 0.5),
            ("hold_events", 100, 10**15),
            ("release_events", 100, 10**15),
            ("magnitude_max", 1.0, 1e30),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {getattr(self, name)} is out of range, {least} to {most}")


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Cadence and bounds of one model's learning, and what is done with what it learns.

    A base and the full learner state are published with every version whose sequence is a multiple of `base_every` and
    `state_every`, and with the first version of every epoch. A restart replays at most `state_every` versions. A base
    of more than `base_part_bytes_max` that there can be a delta beside is told in parts of so much, one a transaction.
    """

    model: str
    member: str
    base_every: int = 50
    state_every: int = 50
    chunk_bytes_max: int = 900_000
    base_part_bytes_max: int = 4 << 20
    probes_max: int = 4
    status_interval_ms: int = 5_000
    mode: Mode = "online"
    gate: GateSettings = field(default_factory=GateSettings)
