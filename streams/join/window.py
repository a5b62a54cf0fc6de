"""How far event time has come, and up to where everything is settled.

    watermark = max(older clock, newer clock - window)     clocks: newest event time seen on each of the two topics
    horizon   = watermark - window                         what happened at or before it waits no longer
    kept      = horizon - late                             predictions up to here are forgotten: until then they are
                                                           kept for feedback that comes after their window

The topic that is behind is waited for, so that a backlog read in any order joins as it would have live; but for at most
one window, so that a topic which has fallen silent does not stop the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from rheostat.streams.engine.block import Committed

FUTURE_MS_MAX = 5 * 60_000
"""How far ahead of the present an event may move its clock: one wrong date must not end the waiting of all others."""

NEVER = -1


@dataclass(frozen=True, slots=True)
class Progress:
    """The place of a partition's join as of a commit; travels in the metadata of the committed offsets.

    Clocks and horizons are event times in ms, NEVER before the first record. The horizons may be past that of the
    formula, where waiting records had to be given up for want of room.
    """

    commits: int = 0
    predictions_clock: int = NEVER
    feedback_clock: int = NEVER
    predictions_horizon: int = NEVER
    feedback_horizon: int = NEVER
    kept_horizon: int = NEVER
    counts: Mapping[str, int] = field(default_factory=dict)

    def seen(self, predictions_ms: int, feedback_ms: int, now_ms: int) -> Progress:
        """Move the clocks on to the newest event times of a run, NEVER where there were none."""
        latest = now_ms + FUTURE_MS_MAX
        return replace(
            self,
            predictions_clock=max(self.predictions_clock, min(predictions_ms, latest)),
            feedback_clock=max(self.feedback_clock, min(feedback_ms, latest)),
        )

    def advanced(self, window_ms: int, late_ms: int) -> Progress:
        """Move the horizons on as far as the clocks allow."""
        behind, ahead = sorted((self.predictions_clock, self.feedback_clock))
        horizon = max(behind, ahead - window_ms) - window_ms
        return replace(
            self,
            predictions_horizon=max(self.predictions_horizon, horizon),
            feedback_horizon=max(self.feedback_horizon, horizon),
            kept_horizon=max(self.kept_horizon, horizon - late_ms),
        )

    def given_up(self, horizon_ms: int) -> Progress:
        """Move on past predictions that were given up for want of room."""
        return replace(
            self,
            predictions_horizon=max(self.predictions_horizon, horizon_ms),
            kept_horizon=max(self.kept_horizon, horizon_ms),
        )

    def dumps(self) -> str:
        """Encode for commit metadata."""
        clocks = self.predictions_clock, self.feedback_clock
        places = [*clocks, self.predictions_horizon, self.feedback_horizon, self.kept_horizon]
        return json.dumps({"seq": self.commits, "places": places, "counts": dict(self.counts)}, separators=(",", ":"))


def newest_progress(committed: Iterable[Committed]) -> Progress:
    """Return the progress of the last commit, or that of a join which never committed."""
    found = [_loads(each.metadata) for each in committed if each.metadata]
    return max(found, key=lambda each: each.commits, default=Progress())


def _loads(text: str) -> Progress:
    given = json.loads(text)
    *places, kept_horizon = given["places"]
    predictions_clock, feedback_clock, predictions_horizon, feedback_horizon = places
    return Progress(
        given["seq"],
        predictions_clock,
        feedback_clock,
        predictions_horizon,
        feedback_horizon,
        kept_horizon,
        given["counts"],
    )
