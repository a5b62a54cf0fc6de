"""Runs the join and one learner over a history: what the pipeline would have learned from it, and how well, in time.

The stages are those of the pipeline, in their own loops, on a broker in memory; only time is that of the file. Step by
step, in the order of event time: predictions are answered by the version in force, as a server answers them; these and
the labels that came are joined; what came of that is tested, then learned, and published as the next version. So no
label is seen before its time, and a score is that of a version which knew only the labels that had come by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rheostat.learners.contract import Floats, Learner
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import select
from rheostat.schemas import catalogue
from rheostat.streams.backtest.learner_outcomes import LearnerOutcomes, OutcomeReader
from rheostat.streams.backtest.learner_records import LearnerRecords
from rheostat.streams.backtest.learner_rows import LearnerRows
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.stage import Stage
from rheostat.streams.errors import ConfigError
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage, JoinTask
from rheostat.streams.learn.evaluation import SCORED_ROWS
from rheostat.streams.learn.publication import UNTRAINED
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import TICK_MS, LearnStage, LearnTask
from rheostat.streams.models.signing import KeyRing, generate_signer
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics

BLOCK_ROWS_MAX = 40_000
_ALL = 1 << 31
_NEVER_MS = 1 << 60
_START_S = 60.0
_PASSED_ON = (
    catalogue.PREDICTIONS,
    catalogue.LEDGER,
    catalogue.EXAMPLES,
    catalogue.EVALUATIONS,
    catalogue.MODELS,
    catalogue.MODELS_STATE,
)
"""What nobody reads again: nothing is restarted, and nothing is rolled back."""
_START_MS = 100 * TICK_MS

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LearnerTrial:
    """What is tried: a model by its name, how it is made, and how often it learns.

    block_rows: arrivals (predictions and labels) of one step, at most. block_ms: where given, a step ends, besides, at
    every multiple of it in event time, as `learn.interval_ms` ends it in the pipeline.
    """

    model: str
    new_learner: Callable[[], Learner]
    join: JoinSettings
    block_rows: int = 500
    block_ms: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.block_rows <= BLOCK_ROWS_MAX:
            raise ConfigError(f"block_rows: {self.block_rows} is out of range, 1 to {BLOCK_ROWS_MAX}")
        if self.block_ms is not None and self.block_ms < 1:
            raise ConfigError(f"block_ms: {self.block_ms} must be at least 1")


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a trial. `books` are those of the join; `digest` is that of the last version's parameters."""

    outcomes: LearnerOutcomes
    books: Mapping[str, int]
    kind: str
    version: Version
    digest: str
    steps: int
    labels: int
    seconds: float


def try_learner(rows: LearnerRows, trial: LearnerTrial, progress: Progress = lambda done: None) -> Tried:
    """Run the trial over all rows; `progress` is told how many arrivals are done."""
    started = time.monotonic()
    with closing(_Pipeline(trial, rows)) as pipeline:
        records = LearnerRecords(rows, trial.model, pipeline.learn_task.learner.schema)
        served, steps = np.zeros(len(rows)), 0
        for cut in records.cuts(trial.block_rows, trial.block_ms):
            task = pipeline.learn_task
            served[cut.predictions] = _answer(task.learner, rows, cut.predictions)
            scores = (served if rows.logged is None else rows.logged)[cut.predictions]
            shown = records.predictions(cut.predictions, scores, task.progress.version or UNTRAINED)
            pipeline.outcomes.shown(cut.predictions)
            pipeline.step(cut.now_ms, [each for each in (shown, records.labels_of(cut.labels)) if len(each)])
            steps += 1
            progress(cut.predictions.stop + cut.labels.stop)
        task = pipeline.learn_task
        return Tried(
            outcomes=pipeline.outcomes.finish(served),
            books=pipeline.books,
            kind=task.learner.kind,
            version=task.progress.version or UNTRAINED,
            digest=tensors_digest(task.learner.parameters()),
            steps=steps,
            labels=records.labels,
            seconds=time.monotonic() - started,
        )


class _Pipeline:
    """Join and learn on a broker of their own, whose time is that of the file."""

    def __init__(self, trial: LearnerTrial, rows: LearnerRows) -> None:
        self._clock = ManualClock(int(min(rows.times_ms[0], rows.label_times_ms.min())) - _START_MS)
        self._broker = broker = MemoryBroker(self._clock, wait_ms=0)
        create_topics(broker, data_partitions=1, replication=1)
        signer = generate_signer("backtest")
        settings = LearnSettings(trial.model, member="backtest", status_interval_ms=_NEVER_MS)
        self._join = self._loop(JoinStage(trial.join), broker)
        self._learn = self._loop(LearnStage(settings, trial.new_learner, signer, KeyRing.of(signer)), broker)
        self._passed_on = [(each, number) for each in _PASSED_ON for number in range(broker.log().partitions(each))]
        self._feed = broker.transactional_producer("backtest")
        self.outcomes = OutcomeReader(broker, rows)
        self._start()

    @property
    def learn_task(self) -> LearnTask:
        """The task of the learner; after a failure it would be another one."""
        task = self._learn.tasks[ALL_PARTITIONS]
        assert isinstance(task, LearnTask)
        return task

    @property
    def books(self) -> Mapping[str, int]:
        """The books of the join."""
        (task,) = self._join.tasks.values()
        assert isinstance(task, JoinTask)
        return dict(task.counts)

    def step(self, now_ms: int, fed: Sequence[OutBlock]) -> None:
        """Write records, and let both stages take in what came of them, each in one transaction."""
        self._clock.advance(max(0, now_ms - self._clock.now_ms()))
        self._feed.begin()
        for block in fed:
            self._feed.write(block)
        self._feed.commit()
        _take_in(self._join, sum(map(len, fed)))
        _take_in(self._learn, self.outcomes.read())
        self.outcomes.read_tests()
        for topic, partition in self._passed_on:
            self._broker.delete_before(topic, partition, _ALL)

    def close(self) -> None:
        """End both stages."""
        self._join.close()
        self._learn.close()

    def _loop(self, stage: Stage, broker: MemoryBroker) -> StageLoop:
        limits = LoopLimits(records_max=_ALL, work_ms=0, interval_ms=0, poll_timeout_ms=0)
        return StageLoop(stage, broker, slot="0", clock=self._clock, limits=limits)

    def _start(self) -> None:
        deadline = time.monotonic() + _START_S
        while (
            not self._join.tasks or ALL_PARTITIONS not in self._learn.tasks or self.learn_task.progress.version is None
        ):
            self._clock.advance(TICK_MS)
            self._join.step()
            self._learn.step()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the stages were not ready within {_START_S} s")


def _take_in(loop: StageLoop, records: int) -> None:
    """Let a stage take in what waits for it, which must be exactly this many records."""
    taken = loop.step() if records else 0
    if taken != records:
        raise RuntimeError(f"{loop.stage.name} took in {taken} of {records} records: its transaction was aborted")


def _answer(learner: Learner, rows: LearnerRows, which: slice) -> Floats:
    """Return the scores of predictions, in parts as small as those that servers and the test of the learner score."""
    ends = [*range(which.start, which.stop, SCORED_ROWS), which.stop]
    parts = [learner.predict(select(rows.batch, slice(*pair))) for pair in pairwise(ends)]
    return np.concatenate(parts) if parts else np.empty(0)
