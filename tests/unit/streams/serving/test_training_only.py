"""A feature that is learned but not scored with is logged as it came and changes no score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.learners.linear import RiverLinear
from rheostat.schemas import catalogue, codec
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Facts, Probe
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from tests.support.http_client import AppClient
from tests.support.model_topic import LEARNER
from tests.support.serving import ServingWorld

SCHEMA = FeatureSchema(
    "list@1", ("position", "price"), ("topic", "page"), training_only=(("position", 1.0), ("page", "first"))
)
ROW = {"price": 0.5, "topic": "news"}


class Page(ServingWorld):
    """A server of a model that learned from random rows, their position among them."""

    def __init__(self) -> None:
        super().__init__(FollowerSettings("server-1", ("ranking",)))
        learner = RiverLinear(SCHEMA)
        learner.learn(toy_batch(SCHEMA, 500, 1))
        learner.flush()
        self.learner = learner
        probe = batch_from_columns(SCHEMA, [[4.0, 0.5]], [["news"], ["second"]])
        facts = Facts(
            "ranking", Version(1, 0), learner.kind, SCHEMA, published_at_ms=self.clock.now_ms(),
            probes=(Probe((4.0, 0.5), ("news", "second"), float(learner.predict(probe)[0])),),
        )  # fmt: skip
        self.publish(build_update(facts, learner.parameters(), None, LEARNER))
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1")
        self.client = AppClient(build_app(self.follower, self.log, metrics, self.registry, self.clock))

    def ask(self, *features: dict[str, Any]) -> Any:
        return self.client.post(
            "/predict", json={"model": "ranking", "instances": [{"features": each} for each in features]}
        )

    def logged(self) -> list[dict[str, Any]]:
        self.log.drain()
        log = self.broker.log()
        blocks = [block for p in range(log.partitions("predictions")) for block in log.read("predictions", p)]
        return [codec.decode_record(catalogue.PREDICTIONS, value) for block in blocks for value in block.values]


@pytest.fixture
def page() -> Iterator[Page]:
    world = Page()
    yield world
    world.follower.stop()


def test_it_changes_no_score_and_is_logged_as_given_or_at_its_value_for_scores(page: Page) -> None:
    given: list[dict[str, Any]] = [{}, {"position": 4}, {"position": 9.5, "page": "second"}, {"page": None}]
    scores = [each["score"] for each in page.ask(*({**ROW, **each} for each in given)).json()["predictions"]]
    at_neutral, at_fourth = page.learner.predict(
        batch_from_columns(SCHEMA, [[1.0, 0.5], [4.0, 0.5]], [["news", "news"], ["first", "first"]])
    )
    assert scores == [pytest.approx(at_neutral, rel=1e-12)] * 4
    assert abs(at_fourth - at_neutral) > 1e-3
    logged = sorted((each["numeric"], each["categorical"]) for each in page.logged())
    assert logged == [
        ([1.0, 0.5], ["news", ""]),
        ([1.0, 0.5], ["news", "first"]),
        ([4.0, 0.5], ["news", "first"]),
        ([9.5, 0.5], ["news", "second"]),
    ]


def test_probes_are_scored_with_the_features_that_they_have(page: Page) -> None:
    version = page.follower.current("ranking")
    assert version is not None
    assert version.probe_error_max < 1e-9
    assert version.manifest.facts.schema == SCHEMA


@pytest.mark.parametrize(
    ("features", "field"),
    [
        ({"topic": "news"}, "price"),
        ({**ROW, "position": "top"}, "position"),
        ({**ROW, "position": None}, "position"),
        ({**ROW, "positoin": 3}, "positoin"),
    ],
)
def test_what_is_wrong_is_still_told(page: Page, features: dict[str, Any], field: str) -> None:
    answer = page.ask(features)
    assert answer.status_code == 400
    assert answer.json()["field"] == f"instances[0].features.{field}"


@pytest.mark.parametrize("neutral", [("price", "x"), ("topic", 1.0), ("rank", 1.0), ("position", np.inf)])
def test_a_value_must_be_of_a_feature_and_of_its_kind(neutral: tuple[str, float | str]) -> None:
    with pytest.raises(ValueError, match="training_only"):
        FeatureSchema(SCHEMA.id, SCHEMA.numeric, SCHEMA.categorical, training_only=(neutral,))
