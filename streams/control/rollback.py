"""The life of a model under watch, as a state machine.

    healthy ──► suspect ──► rolling_back ──► probation ──► healthy
       ▲           │             │               │
       └───────────┴─────────────┴───────────────┤
                                                 ▼
                                     (any) ──► frozen ──► healthy

healthy: losses are as expected. suspect: evidence gathers. rolling_back: a command is out, old-epoch messages no longer
count. probation: the restored version is tested on what arrives, nothing is learned. frozen: too many rollbacks; a
person must look.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a model is."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    ROLLING_BACK = "rolling_back"
    PROBATION = "probation"
    FROZEN = "frozen"


ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.HEALTHY: frozenset({Phase.SUSPECT, Phase.ROLLING_BACK, Phase.FROZEN}),
    Phase.SUSPECT: frozenset({Phase.HEALTHY, Phase.ROLLING_BACK, Phase.FROZEN}),
    Phase.ROLLING_BACK: frozenset({Phase.PROBATION, Phase.HEALTHY, Phase.FROZEN}),
    Phase.PROBATION: frozenset({Phase.HEALTHY, Phase.FROZEN}),
    Phase.FROZEN: frozenset({Phase.HEALTHY}),
}


def transition(now: Phase, then: Phase) -> Phase:
    """Return `then`; raises ValueError when it cannot follow `now`. Staying is always allowed."""
    if then is not now and then not in ALLOWED[now]:
        raise ValueError(f"a model that is {now} cannot become {then}")
    return then
