"""What the simulated world does, and when. The pipeline is told nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """One stretch of the story, with what to put on the screen."""

    LEARN = "learning from nothing"
    BROKEN = "a careless client sends broken records and retries"
    BRIGADE = "a brigade floods one target with false feedback"
    CALM = "calm"
    POISON = "taken-over accounts answer the opposite, at their usual rate"
    RECOVER = "the poisoning is over"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Story:
    """Seconds at which the phases begin, and the rates of events a second."""

    broken_at_s: float = 7.0
    brigade_at_s: float = 9.0
    calm_at_s: float = 13.0
    poison_at_s: float = 17.0
    recover_at_s: float = 26.0
    end_at_s: float = 33.0
    predictions_per_s: int = 400
    batch: int = 20
    brigade_per_s: int = 400
    broken_per_s: int = 8

    def phase(self, second: float) -> Phase:
        """Return the phase at a moment."""
        begins = (
            (self.end_at_s, Phase.END),
            (self.recover_at_s, Phase.RECOVER),
            (self.poison_at_s, Phase.POISON),
            (self.calm_at_s, Phase.CALM),
            (self.brigade_at_s, Phase.BRIGADE),
            (self.broken_at_s, Phase.BROKEN),
        )
        return next((phase for at, phase in begins if second >= at), Phase.LEARN)
