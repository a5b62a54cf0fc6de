"""The loop of a model that chooses: serve, reward, join, learn, publish, serve; on the in-memory broker."""

from __future__ import annotations

from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rheostat.learners.bandits.linear import LinearBandit
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.stage import Stage
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.signing import KeyRing, generate_signer
from rheostat.streams.provision import create_topics
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from tests.support.http_client import AppClient
from tests.support.join_records import T0, entry

SIGNER = generate_signer("learner")
SCHEMA = FeatureSchema("offers@1", ("hour",), ("device",), ("none", "banner", "mail"))
PAYS = {"phone": "banner", "desktop": "mail"}


class World:
    """One server, one join and one learner of the model `offers`; a simulated crowd rewards one action a device."""

    def __init__(self) -> None:
        self.clock = ManualClock(T0)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, 2, 1)
        self.producer = self.broker.producer()
        self.random = np.random.default_rng(1)
        self.join = self._loop(JoinStage(JoinSettings(window_ms=60_000)))
        self.start_learner()
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        settings = FollowerSettings("server-1", ("offers",))
        self.follower = ModelFollower(self.broker, settings, KeyRing.of(SIGNER), self.clock, metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1")
        self.client = AppClient(build_app(self.follower, self.log, metrics, registry, self.clock))
        self.settle()

    def start_learner(self) -> None:
        """Start a learner; one that runs already is fenced, as after a kill."""
        settings = LearnSettings(model="offers", member="learner-offers", base_every=2, state_every=3)
        policy = Policy("thompson", propensity_min=0.02)
        stage = LearnStage(settings, lambda: LinearBandit(SCHEMA, policy), SIGNER, KeyRing.of(SIGNER))
        self.learn = self._loop(stage)

    def _loop(self, stage: Stage) -> StageLoop:
        limits = LoopLimits(poll_timeout_ms=0, interval_ms=0)
        return StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits)

    @property
    def learner(self) -> LinearBandit:
        task = self.learn.tasks[ALL_PARTITIONS]
        assert isinstance(task, LearnTask)
        assert isinstance(task.learner, LinearBandit)
        return task.learner

    def settle(self) -> None:
        for _ in range(12):
            self.clock.advance(50)
            self.join.step()
            self.learn.step()
            self.follower.step(0)

    def round(self, rows: int) -> list[tuple[str, dict[str, Any]]]:
        """Answer for visitors, reward what was chosen, and let everything take effect; return device and answer."""
        devices = [list(PAYS)[number % 2] for number in range(rows)]
        asked = [{"features": {"hour": number % 24, "device": device}} for number, device in enumerate(devices)]
        reply = self.client.post("/predict", json={"model": "offers", "instances": asked})
        assert reply.status_code == 200, reply.text
        answers: list[dict[str, Any]] = reply.json()["predictions"]
        self.log.drain(rows)
        self.settle()
        for device, answer in zip(devices, answers, strict=True):
            liked = self.random.random() < (0.8 if answer["action"] == PAYS[device] else 0.2)
            said = entry(
                f"e-{answer['prediction_id']}", answer["prediction_id"], self.clock.now_ms(), value=float(liked)
            )
            self.producer.send(
                catalogue.LEDGER,
                answer["prediction_id"].encode(),
                codec.encode_record(catalogue.LEDGER, said),
                timestamp_ms=self.clock.now_ms(),
            )
        self.settle()
        return list(zip(devices, answers, strict=True))


def share_of_best(answered: list[tuple[str, dict[str, Any]]]) -> float:
    return float(np.mean([PAYS[device] == answer["action"] for device, answer in answered]))


def test_the_loop_finds_what_pays_and_goes_on_after_a_kill() -> None:
    world = World()
    first = share_of_best(world.round(200))
    for _ in range(3):
        world.round(200)
    digest = tensors_digest(world.learner.snapshot().tensors)
    world.start_learner()
    world.settle()
    assert tensors_digest(world.learner.snapshot().tensors) == digest
    last = share_of_best(world.round(200))
    assert world.learner.metrics()["bandit_rows"] == 1_000.0
    # A third is chance; 200 choices of 4 % at random besides the best are below 0.8 less often than once in a million.
    assert first < 0.55
    assert last > 0.8
    version = world.follower.current("offers")
    assert version is not None
    assert version.digest == tensors_digest(world.learner.parameters())
