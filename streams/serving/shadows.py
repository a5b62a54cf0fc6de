"""Answers that nobody sees: what shadows would have answered, computed after the answer is out, and logged beside it.

Whoever answers puts what was shown into a bounded queue; a thread has the shadows score it, all that came within a few
hundredths of a second at once. Where there is no room, in this queue or in that of the log, shadows are dropped and
counted: what was shown comes first.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

from rheostat.schemas.arms import arm_text, variants_in
from rheostat.streams.clock import Clock
from rheostat.streams.serving.answered import Asked
from rheostat.streams.serving.answers import Answer, Scorer
from rheostat.streams.serving.arm_answers import ArmedModel, units
from rheostat.streams.serving.arms import SHADOW
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.predictions import Prediction, new_prediction_id
from rheostat.streams.serving.requests import Row

QUEUE_MAX = 10_000
_AT_ONCE = 256
"""Scored in one go: while numpy works for a shadow, no request is answered."""
_LINGER_S = 0.05


class Shown(NamedTuple):
    """What was asked of a model with arms, the version that it was checked for, and what was answered."""

    model: ArmedModel
    default: Scorer
    asked: Asked
    predictions: Sequence[Prediction]


class _Job(NamedTuple):
    model: ArmedModel
    default: Scorer
    arm: str
    shown: Prediction
    eligible: Sequence[bool]


class Shadows:
    """A bounded queue before the shadows of all models. `add` never blocks."""

    def __init__(self, log: PredictionLog, clock: Clock, queue_max: int = QUEUE_MAX) -> None:
        self._log = log
        self._clock = clock
        self._queue_max = queue_max
        self._queue: deque[_Job] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, shown: Shown) -> None:
        """Queue what the shadows of a model are to answer, too."""
        for prediction, unit, eligible in zip(shown.predictions, units(shown.asked), shown.asked.eligible, strict=True):
            for arm in shown.model.plan.shadows_of(unit):
                if len(self._queue) < self._queue_max and not self._log.filling:
                    self._queue.append(_Job(shown.model, shown.default, arm, prediction, eligible))
                else:
                    shown.model.skipped(arm, "full", 1)

    def score(self) -> int:
        """Score and log what waits, up to a bound; return how much was taken from the queue."""
        taken = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
        of_arm: dict[tuple[str, str, int], list[_Job]] = defaultdict(list)
        for job in taken:
            of_arm[job.model.plan.model, job.arm, id(job.default)].append(job)
        for jobs in of_arm.values():
            self._score(jobs)
        return len(taken)

    def start(self) -> None:
        """Loop `score` in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what waits is counted as dropped."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        while self._queue:
            job = self._queue.popleft()
            job.model.skipped(job.arm, "full", 1)

    def _run(self) -> None:
        while not self._stop.wait(_LINGER_S):
            while self.score() == _AT_ONCE and not self._stop.is_set():
                pass

    def _score(self, jobs: Sequence[_Job]) -> None:
        model, arm = jobs[0].model, jobs[0].arm
        scorer = model.scorer(arm, jobs[0].default)
        if not isinstance(scorer, Scorer):
            model.skipped(arm, scorer, len(jobs))
            return
        ids = [new_prediction_id(self._clock.now_ms()) for _ in jobs]
        rows = [Row(job.shown.numeric, job.shown.categorical) for job in jobs]
        # Whatever a version on trial does, the next ones are to be asked.
        try:
            answered = scorer.answer(rows, ids, [job.eligible for job in jobs])
        except Exception:
            model.skipped(arm, "failed", len(jobs))
            return
        given = [
            _shadow(job, scorer, shadow_id, answer)
            for job, shadow_id, answer in zip(jobs, ids, answered, strict=True)
            if math.isfinite(answer.score)
        ]
        model.skipped(arm, "failed", len(jobs) - len(given))
        model.answered(arm, self._log.add(given))


def _shadow(job: _Job, scorer: Scorer, shadow_id: str, answer: Answer) -> Prediction:
    model, facts = job.model.plan.model, scorer.version.manifest.facts
    variants = {} if job.shown.arm is None else variants_in(job.shown.arm)
    return job.shown._replace(
        prediction_id=shadow_id,
        model=facts.model,
        version=facts.version,
        score=answer.score,
        arm=arm_text({**variants, model: job.arm}),
        action=answer.action,
        propensity=answer.propensity,
        flags=(SHADOW,),
        arm_propensity=None,
        shadow_of=job.shown.prediction_id,
    )
