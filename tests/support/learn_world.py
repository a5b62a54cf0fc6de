"""A learn stage of one model on the in-memory broker, driven step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rheostat.learners.contract import Learner
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.river.learner import RiverLearner
from rheostat.learners.river.settings import RiverSettings
from rheostat.schemas import catalogue
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.models.apply import ModelVersion, apply_update
from rheostat.streams.models.commands import Command, ExcludedRange, sign_command
from rheostat.streams.models.signing import KeyRing, Signer, generate_signer
from rheostat.streams.models.update import UpdateAssembler
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics
from tests.support.examples import SCHEMA

LEARNER = generate_signer("learner")
MONITOR = generate_signer("monitor")
KEYS = KeyRing.of(LEARNER, MONITOR)
RECORDS_MAX = 16


def linear() -> Learner:
    return RiverLinear(SCHEMA, LinearSettings(batch_rows=4))


def deep() -> Learner:
    return HashedMLP(SCHEMA, DeepSettings(table_bits=7, dim=2, hidden=4, batch_rows=4))


def of_river(*steps: str) -> Callable[[], Learner]:
    settings = RiverSettings({"steps": [{"estimator": each} for each in steps]})
    return lambda: RiverLearner(SCHEMA, settings)


class World:
    """One learner of the model `toy`."""

    def __init__(self, partitions: int = 2, new_learner: Callable[[], Learner] = linear, **settings: Any) -> None:
        self.new_learner = new_learner
        self.settings = settings
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, partitions, 1)
        self.producer = self.broker.producer()
        self.start()

    def start(self, **settings: Any) -> None:
        """Start a learner, with these settings from now on; one that runs already is fenced, as after a kill."""
        self.settings |= settings
        stage = LearnStage(
            LearnSettings(model="toy", member="learner-toy", base_every=8, state_every=5, **self.settings),
            self.new_learner,
            LEARNER,
            KEYS,
        )
        limits = LoopLimits(records_max=RECORDS_MAX, poll_timeout_ms=0, interval_ms=0)
        self.loop = StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits)

    def run(self, steps: int = 30) -> None:
        for _ in range(steps):
            self.clock.advance(50)
            self.loop.step()

    def task(self) -> LearnTask:
        task = self.loop.tasks[ALL_PARTITIONS]
        assert isinstance(task, LearnTask)
        return task

    def versions(self) -> list[ModelVersion]:
        """Apply everything published, as a server does; every check passes or this raises."""
        current: dict[str, ModelVersion] = {}
        refused: list[str] = []
        assembler = UpdateAssembler(KEYS, lambda model, why: refused.append(str(why)))
        out = []
        for block in self.broker.log().read(catalogue.MODELS, 0):
            for key, value in zip(block.keys, block.values, strict=True):
                update = assembler.feed(key, value)
                if update is not None and update.manifest.version != getattr(current.get("toy"), "version", None):
                    current["toy"] = apply_update(current.get("toy"), update)
                    out.append(current["toy"])
        assert not refused
        return out

    def command(self, command: Command, signer: Signer = MONITOR) -> None:
        key, value = sign_command(command, signer)
        self.producer.send(catalogue.MODELS_COMMANDS, key, value, timestamp_ms=self.clock.now_ms())

    def rollback(self, target: Version, exclude: tuple[ExcludedRange, ...], epoch: int = 1) -> Command:
        now_ms = self.clock.now_ms()
        return Command("c1", "toy", "rollback", epoch, "worse", "monitor", now_ms, now_ms + 60_000, target, exclude)
