"""A follower on the in-memory broker, with the topics it needs and a clock moved by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from rheostat.schemas import catalogue, codec
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.commands import Command, CommandKind, sign_command
from rheostat.streams.models.signing import KeyRing, Signer, generate_signer
from rheostat.streams.models.update import BuiltUpdate
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower
from tests.support.model_topic import LEARNER

MONITOR = generate_signer("monitor-1")
Record = tuple[bytes | None, bytes | None]


def memory_broker(clock: ManualClock) -> MemoryBroker:
    broker = MemoryBroker(clock)
    broker.create_topics([TopicSpec(*each) for each in catalogue.topic_settings()])
    return broker


@dataclass
class ServingWorld:
    """One log, and servers that can be started on it. `swaps` are the versions the last one took into use."""

    settings: FollowerSettings = field(default_factory=lambda: FollowerSettings("server-1", ("phishing",)))
    clock: ManualClock = field(default_factory=ManualClock)
    swaps: list[ModelVersion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = memory_broker(self.clock)
        self.producer = self.broker.producer()
        self.registry = CollectorRegistry()
        self.follower = self.restart()

    def restart(self) -> ModelFollower:
        """Start a server anew, as after a crash."""
        self.registry = CollectorRegistry()
        self.swaps = []
        self.follower = ModelFollower(
            self.broker,
            self.settings,
            KeyRing.of(LEARNER, MONITOR),
            self.clock,
            Metrics(self.registry),
            on_swap=[lambda version, _: self.swaps.append(version)],
        )
        return self.follower

    def write(self, *records: Record, topic: str = catalogue.MODELS) -> None:
        for key, value in records:
            self.producer.send(topic, key, value, timestamp_ms=self.clock.now_ms(), partition=0)

    def publish(self, *updates: BuiltUpdate) -> None:
        for update in updates:
            self.write(*update.records)
        self.settle()

    def settle(self) -> None:
        while self.follower.step(0):
            pass

    def command(
        self,
        kind: CommandKind,
        *,
        epoch: int = 1,
        target: Version | None = None,
        command_id: str = "c-1",
        issuer: str = "monitor",
        model: str = "phishing",
        ttl_ms: int = 60_000,
        signer: Signer = MONITOR,
    ) -> None:
        now_ms = self.clock.now_ms()
        order = Command(command_id, model, kind, epoch, "a test", issuer, now_ms, now_ms + ttl_ms, target)
        self.write(sign_command(order, signer), topic=catalogue.MODELS_COMMANDS)
        self.settle()

    def statuses(self) -> list[dict[str, Any]]:
        blocks = self.broker.log().read(catalogue.MODELS_STATUS, 0)
        return [codec.decode_record(catalogue.MODELS_STATUS, value) for block in blocks for value in block.values]

    def acknowledged(self, command_id: str = "c-1") -> list[dict[str, Any]]:
        return [status for status in self.statuses() if status["command_id"] == command_id]

    def refusals(self, check: str, model: str = "phishing") -> float:
        labels = {"model": model, "reason": check}
        return self.registry.get_sample_value("rheostat_follower_refused_updates_total", labels) or 0.0
