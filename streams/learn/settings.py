"""What a learn stage must be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Cadence and bounds of one model's learning.

    A base and the full learner state are published with every version whose sequence is a multiple of `base_every` and
    `state_every`, and with the first version of every epoch. A restart replays at most `state_every` versions.
    """

    model: str
    member: str
    base_every: int = 50
    state_every: int = 50
    chunk_bytes_max: int = 900_000
    probes_max: int = 4
    status_interval_ms: int = 5_000
