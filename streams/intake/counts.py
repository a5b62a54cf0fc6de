"""What became of every event of one partition: counts that must balance."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

FATES = ("accepted", "duplicate", "quarantined", "withheld", "invalid", "forwarded")
"""What may become of an event in the partition where it was read: exactly one of these."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Cumulative counts of one partition number over all source topics, exact across restarts.

    consumed = accepted + duplicate + quarantined + withheld + invalid + forwarded, always. What was forwarded to the
    partition where it belongs is consumed once more there; `readmitted` events are consumed once more because they were
    released from quarantine. Extra are `dedup_evicted` ids (given up for lack of memory while they still counted),
    `capped` events (which weigh nothing: their actor gave too many) and `overruled` ones (from which a contradiction
    took weight, each time one did).
    """

    consumed: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    withheld: int = 0
    invalid: int = 0
    forwarded: int = 0
    readmitted: int = 0
    dedup_evicted: int = 0
    capped: int = 0
    overruled: int = 0

    @property
    def imbalance(self) -> int:
        """Events consumed less events accounted for; anything but 0 is a fault of ours."""
        return self.consumed - sum(int(getattr(self, fate)) for fate in FATES)

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})

    def as_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Counts:
        """Read counts by name; a missing one is 0."""
        return cls(**{name: int(given.get(name, 0)) for name in _NAMES})


_NAMES = tuple(each.name for each in fields(Counts))
