"""What is answered for a model whose version is too old."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rheostat.learners.bandits.linear import LinearBandit
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from tests.support.http_client import AppClient
from tests.support.model_topic import LEARNER, Publisher
from tests.support.serving import ServingWorld

AGE_MAX_MS = 60_000
ONE = {"model": "phishing", "features": {"url_length": 12, "age_days": 3.5, "tld": "com"}}


class Site(ServingWorld):
    """A server whose model may be a minute old, with its HTTP side."""

    def __init__(self, score: float | None, model: str = "phishing") -> None:
        fallbacks = {model: Fallback(AGE_MAX_MS, score)}
        super().__init__(FollowerSettings("server-1", (model,), fallbacks=fallbacks))
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1")
        self.client = AppClient(build_app(self.follower, self.log, metrics, self.registry, self.clock))
        self.publisher = Publisher()

    def fresh_version(self) -> None:
        self.publisher.nudge(1)
        self.publish(self.publisher.publish(base=True, at_ms=self.clock.now_ms()))

    def ask(self, body: dict[str, Any] = ONE) -> Any:
        return self.client.post("/predict", json=body)

    def flags(self) -> list[list[str]]:
        self.log.drain()
        log = self.broker.log()
        blocks = [block for at in range(log.partitions("predictions")) for block in log.read("predictions", at)]
        values = [value for block in blocks for value in block.values]
        return [codec.decode_record(catalogue.PREDICTIONS, value)["flags"] for value in values]


def test_a_version_answers_up_to_its_greatest_age_then_the_fallback_until_a_new_one_comes() -> None:
    site = Site(0.25)
    site.fresh_version()
    site.clock.advance(AGE_MAX_MS)
    young = site.ask().json()
    site.clock.advance(1)
    old = site.ask().json()
    site.fresh_version()
    again = site.ask().json()
    assert old["score"] == 0.25 not in (young["score"], again["score"])
    assert [each.get("fallback") for each in (young, old, again)] == [None, True, None]
    assert sorted(site.flags()) == [[], [], ["fallback"]]
    sample = site.registry.get_sample_value
    assert sample("rheostat_serve_predictions_total", {"model": "phishing"}) == 3
    assert sample("rheostat_serve_fallback_predictions_total", {"model": "phishing"}) == 1


def test_requests_are_checked_as_ever_and_batches_answered() -> None:
    site = Site(0.25)
    site.fresh_version()
    site.clock.advance(AGE_MAX_MS + 1)
    instances = [{"features": ONE["features"]}] * 3
    batch = site.ask({"model": "phishing", "instances": instances}).json()["predictions"]
    assert [each["score"] for each in batch] == [0.25] * 3
    wrong = site.ask({"model": "phishing", "features": {}})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "features.url_length")
    scorer = site.follower.scorer("phishing")
    assert scorer is not None
    np.testing.assert_array_equal(scorer.scores([[1.0, 2.0]] * 2, [["com"] * 2]), [0.25, 0.25])


def test_without_a_stated_score_nothing_is_answered_and_health_says_why() -> None:
    site = Site(None)
    site.fresh_version()
    site.clock.advance(AGE_MAX_MS + 1)
    refused = site.ask()
    assert (refused.status_code, refused.json()["field"]) == (503, "model")
    assert "too old" in refused.json()["error"]
    health = site.client.get("/healthz")
    assert (health.status_code, health.json()["too_old"]) == (200, ["phishing"])
    assert site.client.get("/models").json()["models"][0]["too_old"] is True
    site.fresh_version()
    assert site.ask().status_code == 200


def test_a_version_that_somebody_holds_may_be_of_any_age() -> None:
    site = Site(0.25)
    site.fresh_version()
    site.command("freeze", issuer="ada")
    site.clock.advance(10 * AGE_MAX_MS)
    assert "fallback" not in site.ask().json()
    site.command("resume", issuer="ada", command_id="c-2")
    assert site.ask().json()["fallback"]


def test_a_follower_that_has_ended_does_not_keep_its_version_young() -> None:
    site = Site(0.25)
    site.fresh_version()
    site.follower.failure = RuntimeError("the thread ended")
    site.clock.advance(AGE_MAX_MS + 1)
    assert site.ask().json()["fallback"]


def test_a_model_that_chooses_gives_every_eligible_action_the_same_chance() -> None:
    site = Site(0.5, "offers")
    schema = FeatureSchema("offers@1", ("age",), (), ("none", "banner", "mail"))
    facts = Facts("offers", Version(1, 0), "linear-bandit/1", schema, published_at_ms=site.clock.now_ms())
    site.publish(build_update(facts, LinearBandit(schema, Policy()).parameters(), None, LEARNER))
    site.clock.advance(AGE_MAX_MS + 1)
    instances = [{"features": {"age": 1.0}, "actions": ["mail", "none"]}] * 1_000
    answers = site.ask({"model": "offers", "instances": instances}).json()["predictions"]
    chosen = [each["action"] for each in answers]
    assert set(chosen) == {"none", "mail"}
    assert 400 < chosen.count("mail") < 600
    assert {(each["propensity"], each["score"], each["fallback"]) for each in answers} == {(0.5, 0.5, True)}


@pytest.mark.parametrize(("age_max_ms", "score"), [(0, None), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_a_fallback_that_makes_no_sense_is_refused(age_max_ms: int, score: float | None) -> None:
    with pytest.raises(ValueError, match=r"age_max_ms|score"):
        Fallback(age_max_ms, score)
