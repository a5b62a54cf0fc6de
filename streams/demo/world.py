"""The simulated world at work: asks the server about real records and lets the crowd answer, phase by phase."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rheostat.learners.prequential import RollingAUC
from rheostat.schemas import catalogue
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.demo.crowd import Answer, Crowd, Verdict
from rheostat.streams.demo.records import RealRecord, RecordSet
from rheostat.streams.demo.story import Phase, Story
from rheostat.streams.engine.broker import Producer
from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.local.predict_client import PredictClient
from rheostat.streams.models.version import Version

TICK_S = 0.02
AUC_WINDOW = 1_000
AUC_ROWS_MIN = 200
NO_CONSENT_SHARE = 0.02


@dataclass(slots=True)
class Seen:
    """What the world saw, for the screen and the summary. `auc` pairs seconds with the rolling AUC."""

    phase: Phase = Phase.LEARN
    answered: int = 0
    sent: int = 0
    auc: list[tuple[float, float]] = field(default_factory=list)
    auc_before_attack: float | None = None
    auc_worst: float | None = None


class World:
    """Runs the story on one thread; everything random is seeded."""

    def __init__(
        self,
        records: RecordSet,
        story: Story,
        crowd: Crowd,
        url: str,
        model: str,
        client: FeedbackClient,
        producer: Producer,
        tracker: FreshnessTracker,
        seed: int,
    ) -> None:
        self.seen = Seen()
        self._story = story
        self._crowd = crowd
        self._model = model
        self._client = client
        self._producer = producer
        self._tracker = tracker
        self._random = random.Random(seed)
        self._records = _shuffled_for_ever(records.records, self._random)
        self._target = next(each for each in records.records if each.label)
        self._server = PredictClient(url)
        self._due: list[tuple[float, int, Verdict, bool]] = []
        self._order = itertools.count()
        self._auc = RollingAUC(AUC_WINDOW)
        self._broken = itertools.cycle(_BROKEN)
        self._asked: dict[str, float] = {"ordinary": 0.0, "brigade": 0.0, "broken": 0.0}

    def step(self, second: float) -> None:
        """Do everything that is due at this second of the story."""
        seen, story = self.seen, self._story
        seen.phase = story.phase(second)
        if seen.phase in (Phase.BRIGADE, Phase.POISON) and seen.auc_before_attack is None and seen.auc:
            seen.auc_before_attack = seen.auc[-1][1]
        if seen.phase is not Phase.END:
            for _ in range(self._count("ordinary", second, story.predictions_per_s)):
                self._ask_ordinary(second)
            if seen.phase is Phase.BRIGADE:
                for _ in range(self._count("brigade", second, story.brigade_per_s)):
                    self._ask_brigade(second)
            if seen.phase is Phase.BROKEN:
                for _ in range(self._count("broken", second, story.broken_per_s * story.batch)):
                    self._send_broken()
        self._asked = dict.fromkeys(self._asked, second)
        self._send_due(second)
        self._note_auc(second)

    def finish(self) -> None:
        """Send what is still to be sent, at once, and wait until the broker has it."""
        self._send_due(float("inf"))
        self._client.flush()
        self._producer.flush(5_000)

    def _count(self, what: str, second: float, per_s: int) -> int:
        """Return how many batches are due since the last step: rates are of records, requests of batches."""
        batch = self._story.batch
        return int(second * per_s / batch) - int(self._asked[what] * per_s / batch)

    def _ask_ordinary(self, second: float) -> None:
        records = list(itertools.islice(self._records, self._story.batch))
        poisoned = self.seen.phase is Phase.POISON
        answers = self._ask(records)
        self._auc.add(
            np.array([each.score for each in answers]), np.array([float(each.record.label) for each in answers])
        )
        for answer in answers:
            verdict = self._crowd.honest(answer, poisoned=poisoned)
            if verdict is not None:
                self._plan(second, verdict)

    def _ask_brigade(self, second: float) -> None:
        for answer in self._ask([self._target] * self._story.batch):
            self._plan(second, self._crowd.brigade(answer))

    def _ask(self, records: list[RealRecord]) -> list[Answer]:
        instances = [{"features": each.features, "target_id": each.target_id} for each in records]
        answers: list[dict[str, Any]] = self._server.ask({"model": self._model, "instances": instances})["predictions"]
        now = time.perf_counter()
        for version in {each["version"] for each in answers}:
            self._tracker.prediction_served(Version.parse(version), now)
        self.seen.answered += len(answers)
        return [Answer(record, a["prediction_id"], a["score"]) for record, a in zip(records, answers, strict=True)]

    def _plan(self, second: float, verdict: Verdict) -> None:
        heapq.heappush(self._due, (second + verdict.after_s, next(self._order), verdict, False))
        if verdict.again_after_s is not None:
            heapq.heappush(self._due, (second + verdict.again_after_s, next(self._order), verdict, True))

    def _send_due(self, second: float) -> None:
        while self._due and self._due[0][0] <= second:
            _, _, verdict, again = heapq.heappop(self._due)
            if not again:
                self._tracker.event_sent(verdict.event_id, time.perf_counter())
            self._client.give(
                "correct" if verdict.correct else "incorrect",
                1.0,
                verdict.prediction_id,
                verdict.subject_id,
                consent=self._consents(verdict),
                target_id=verdict.target_id,
                segment="all",
                event_id=verdict.event_id,
            )
            self.seen.sent += 1

    def _consents(self, verdict: Verdict) -> bool:
        """Some never agreed; the same for a retry of the same event."""
        return random.Random(verdict.event_id).random() >= NO_CONSENT_SHARE

    def _send_broken(self) -> None:
        key = f"broken-{next(self._order)}".encode()
        now_ms = time.time_ns() // 1_000_000
        self._producer.send(catalogue.FEEDBACK_EXPLICIT, key, next(self._broken), timestamp_ms=now_ms)
        self.seen.sent += 1

    def _note_auc(self, second: float) -> None:
        if self.seen.answered < AUC_ROWS_MIN or (self.seen.auc and second - self.seen.auc[-1][0] < 0.25):
            return
        value = self._auc.value()
        if value is None:
            return
        self.seen.auc.append((second, value))
        if self.seen.auc_before_attack is not None:
            self.seen.auc_worst = value if self.seen.auc_worst is None else min(self.seen.auc_worst, value)


_BROKEN = (
    b"not avro at all",
    b"\x00\x00\x00\x03\xe7" + b"unknown schema id",
    b"",
    b"\x00\x00\x00\x00\x02\x06abc",
)


def _shuffled_for_ever(records: tuple[RealRecord, ...], draw: random.Random) -> Iterator[RealRecord]:
    """Yield the records in their order first, then again and again in random orders."""
    yield from records
    again = list(records)
    while True:
        draw.shuffle(again)
        yield from again
