"""A server whose model has arms: `phishing`, with `next` as another model. It keeps two versions of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.arms import Arm, ArmPlan
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.shadows import Shadows
from tests.support.http_client import AppClient
from tests.support.model_topic import Publisher, linear_tensors
from tests.support.serving import ServingWorld

FEATURES = {"url_length": 12, "age_days": 3.5, "tld": "com"}
ONE = {"model": "phishing", "features": FEATURES}
AGE_MAX_MS = 60_000
NO_ARMS: Mapping[str, Arm] = {}


class ArmedSite(ServingWorld):
    """`published` is of `phishing`, `trial` of `next`, whose versions may be a minute old; nothing is published yet."""

    def __init__(
        self, arms: Mapping[str, Arm] = NO_ARMS, queue_max: int = 1_000, shadow_queue_max: int = 1_000
    ) -> None:
        self.plan = ArmPlan.of("phishing", arms)
        settings = FollowerSettings(
            "server-1", ("next", "phishing"), keep_versions=2, fallbacks={"next": Fallback(AGE_MAX_MS, 0.5)}
        )
        super().__init__(
            replace(settings, pinned={"phishing": self.plan.versions}, optional=frozenset(self.plan.models))
        )
        self.published = Publisher()
        self.trial = Publisher("next", tensors=linear_tensors(seed=7))
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1", queue_max)
        self.shadows = Shadows(self.log, self.clock, shadow_queue_max)
        plans = {"phishing": self.plan}
        self.client = AppClient(
            build_app(self.follower, self.log, metrics, self.registry, self.clock, arms=plans, shadows=self.shadows)
        )

    def start(self) -> None:
        """Publish a version of both models."""
        for publisher in (self.published, self.trial):
            self.publish(publisher.publish(base=True, at_ms=self.clock.now_ms()))

    def ask(self, **more: Any) -> dict[str, Any]:
        answer = self.client.post("/predict", json={**ONE, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def logged(self) -> dict[str, dict[str, Any]]:
        """All logged predictions, by their ids."""
        while self.log.drain():
            pass
        log = self.broker.log()
        blocks = [block for at in range(log.partitions("predictions")) for block in log.read("predictions", at)]
        records = [codec.decode_record(catalogue.PREDICTIONS, value) for block in blocks for value in block.values]
        return {each["prediction_id"]: each for each in records}

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"rheostat_arm_{name}_total", {"model": "phishing", **labels}) or 0.0
