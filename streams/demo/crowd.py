"""A simulated crowd of reviewers: who says what about which answer, and when. Pure; seeded; no network.

Honest reviewers are right most of the time. A brigade of fresh accounts judges one target wrongly at a high rate. In
the poisoning, established accounts are taken over and answer the opposite at their ordinary rate. The crowd knows the
real labels; the pipeline never sees them.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from rheostat.streams.demo.records import RealRecord


@dataclass(frozen=True, slots=True)
class CrowdSettings:
    """Rates and shares of the simulation."""

    reviewers: int = 120
    brigade_accounts: int = 150
    feedback_share: float = 0.85
    honest_error: float = 0.04
    duplicate_share: float = 0.03
    taken_over_share: float = 0.65
    delay_mean_s: float = 0.25
    delay_max_s: float = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered about one record."""

    record: RealRecord
    prediction_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One piece of feedback to be sent `after_s` seconds from now; `again_after_s` for a retry of the same event."""

    event_id: str
    prediction_id: str
    subject_id: str
    target_id: str
    correct: bool
    after_s: float
    again_after_s: float | None


class Crowd:
    """Draws verdicts; the same seed and answers give the same verdicts but for their ids."""

    def __init__(self, settings: CrowdSettings, seed: int) -> None:
        self._settings = settings
        self._random = random.Random(seed)
        taken = int(settings.reviewers * settings.taken_over_share)
        self._taken_over = {f"reviewer-{number:04d}" for number in range(taken)}

    def honest(self, answer: Answer, *, poisoned: bool) -> Verdict | None:
        """Return what a reviewer says about an answer, or None for one who says nothing."""
        draw = self._random
        if draw.random() >= self._settings.feedback_share:
            return None
        reviewer = f"reviewer-{draw.randrange(self._settings.reviewers):04d}"
        opinion = answer.record.label != (draw.random() < self._settings.honest_error)
        if poisoned and reviewer in self._taken_over:
            opinion = not answer.record.label
        after = min(draw.expovariate(1.0 / self._settings.delay_mean_s), self._settings.delay_max_s)
        again = after + draw.uniform(0.1, 0.8) if draw.random() < self._settings.duplicate_share else None
        return _verdict(answer, reviewer, opinion, after, again)

    def brigade(self, answer: Answer) -> Verdict:
        """Return what one of the brigade's accounts says: the opposite of the truth, at once."""
        account = f"fresh-{self._random.randrange(self._settings.brigade_accounts):04d}"
        return _verdict(answer, account, not answer.record.label, self._random.uniform(0.0, 0.1), None)


def _verdict(answer: Answer, subject: str, opinion: bool, after_s: float, again_after_s: float | None) -> Verdict:
    shown = answer.score >= 0.5
    return Verdict(
        event_id=uuid.uuid4().hex,
        prediction_id=answer.prediction_id,
        subject_id=subject,
        target_id=answer.record.target_id,
        correct=shown == opinion,
        after_s=after_s,
        again_after_s=again_after_s,
    )
