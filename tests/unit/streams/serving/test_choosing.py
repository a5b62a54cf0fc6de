"""A model with actions answers what it chose and with which probability, and both are logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rheostat.learners.bandits.choosing import uniforms_of
from rheostat.learners.bandits.linear import LinearBandit
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.bandits.served import BanditPredictor
from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.schemas import catalogue, codec
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from tests.support.http_client import AppClient
from tests.support.model_topic import LEARNER, Publisher
from tests.support.serving import ServingWorld

SCHEMA = FeatureSchema("offers@1", ("age", "visits"), ("device",), ("none", "banner", "mail"))
FEATURES = {"age": 1.5, "visits": -0.5, "device": "phone"}
MANY = 2_000


class Shop(ServingWorld):
    """A server of the model `offers`, learned from random rows, and of one that does not choose."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(FollowerSettings("server-1", ("offers", "phishing")))
        learner = LinearBandit(SCHEMA, policy)
        learner.learn(toy_batch(SCHEMA, 300, 1))
        learner.flush()
        facts = Facts("offers", Version(1, 0), learner.kind, SCHEMA, published_at_ms=self.clock.now_ms())
        self.publish(build_update(facts, learner.parameters(), None, LEARNER), Publisher().publish(base=True))
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1")
        self.client = AppClient(build_app(self.follower, self.log, metrics, self.registry, self.clock))

    @property
    def model(self) -> BanditPredictor:
        version = self.follower.current("offers")
        assert version is not None
        assert isinstance(version.predictor, BanditPredictor)
        return version.predictor

    def ask(self, **fields: Any) -> Any:
        return self.client.post("/predict", json={"model": "offers", **fields})

    def logged(self) -> list[dict[str, Any]]:
        self.log.drain(2 * MANY)
        log = self.broker.log()
        blocks = [block for p in range(log.partitions("predictions")) for block in log.read("predictions", p)]
        return [codec.decode_record(catalogue.PREDICTIONS, value) for block in blocks for value in block.values]


@pytest.fixture(params=["thompson", "linucb"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    world = Shop(Policy(request.param, epsilon=0.3))
    yield world
    world.follower.stop()


def test_an_answer_says_what_was_chosen_how_likely_it_was_and_what_it_is_worth(shop: Shop) -> None:
    body = shop.ask(features=FEATURES).json()
    row = batch_from_columns(SCHEMA, [[1.5, -0.5]], [["phone"]])
    place = SCHEMA.actions.index(body["action"])
    assert body["propensity"] == pytest.approx(shop.model.probabilities(row)[0, place], rel=1e-12)
    assert body["score"] == pytest.approx(shop.model.choices(row)[0, place], rel=1e-12)
    (logged,) = shop.logged()
    assert {name: logged[name] for name in ("action", "propensity", "score")} == {
        name: body[name] for name in ("action", "propensity", "score")
    }


def test_every_choice_can_be_made_again_from_the_log(shop: Shop) -> None:
    """From the id, the features and the version alone: what a replay has."""
    shop.ask(instances=[{"features": {**FEATURES, "age": number / 50}} for number in range(200)])
    logged = shop.logged()
    rows = batch_from_columns(
        SCHEMA, [each["numeric"] for each in logged], [[each["categorical"][0] for each in logged]]
    )
    again = shop.model.choose(rows, uniforms_of("offers", [each["prediction_id"] for each in logged]))
    assert [SCHEMA.actions[place] for place in again.action] == [each["action"] for each in logged]
    np.testing.assert_allclose(again.propensity, [each["propensity"] for each in logged], rtol=1e-9)


def test_each_action_is_chosen_as_often_as_the_logged_propensities_say(shop: Shop) -> None:
    """Same features, so the same propensities; chi-square of 2 000 choices over 27.6 is one in a million."""
    for _ in range(MANY // 1_000):
        shop.ask(instances=[{"features": FEATURES}] * 1_000)
    logged = shop.logged()
    assert len(logged) == MANY
    propensity = {each["action"]: each["propensity"] for each in logged}
    assert sum(propensity.values()) == pytest.approx(1.0)
    counts = {action: sum(each["action"] == action for each in logged) for action in propensity}
    distance = sum((counts[action] - MANY * p) ** 2 / (MANY * p) for action, p in propensity.items())
    assert distance < 27.6


def test_the_choice_can_be_limited_to_some_actions(shop: Shop) -> None:
    row = batch_from_columns(SCHEMA, [[1.5, -0.5]], [["phone"]])
    only = np.array([[True, False, True]])
    expected = shop.model.probabilities(row, only)[0]
    assert expected.sum() == pytest.approx(1.0)
    answers = shop.ask(instances=[{"features": FEATURES, "actions": ["mail", "none"]}] * 100).json()["predictions"]
    for each in answers:
        assert each["action"] != "banner"
        assert each["propensity"] == pytest.approx(expected[SCHEMA.actions.index(each["action"])], rel=1e-9)
    (answer,) = shop.ask(instances=[{"features": FEATURES, "actions": ["mail"]}]).json()["predictions"]
    assert (answer["action"], answer["propensity"]) == ("mail", pytest.approx(1.0))


@pytest.mark.parametrize(
    ("actions", "field", "reason"),
    [
        ([], "instances[0].actions", "must be a list of at least one action"),
        ("mail", "instances[0].actions", "must be a list of at least one action"),
        (["mail", "letter"], "instances[0].actions[1]", "is not an action of this model: none, banner, mail"),
        ([["mail"]], "instances[0].actions[0]", "is not an action of this model: none, banner, mail"),
    ],
)
def test_wrong_actions_are_named(shop: Shop, actions: object, field: str, reason: str) -> None:
    answer = shop.ask(instances=[{"features": FEATURES, "actions": actions}])
    assert (answer.status_code, answer.json()) == (400, {"error": reason, "field": field})
    assert shop.logged() == []


def test_a_model_that_does_not_choose_answers_as_ever_and_refuses_actions(shop: Shop) -> None:
    asked = {"model": "phishing", "features": {"url_length": 1, "age_days": 1, "tld": "com"}}
    assert "action" not in shop.client.post("/predict", json=asked).json()
    (logged,) = shop.logged()
    assert (logged["action"], logged["propensity"]) == (None, None)
    refused = shop.client.post("/predict", json={**asked, "actions": ["a"]})
    assert (refused.status_code, refused.json()["field"]) == (400, "actions")
