"""Explanations: they sum to the score, say it in words, tell nobody's data, and say what they cannot know."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.errors import ConfigError, Retryable
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.arms import Arm, ArmPlan
from rheostat.streams.serving.explain import Explainer
from rheostat.streams.serving.explain_route import AT_ONCE_MAX, EXPLAIN
from rheostat.streams.serving.explain_words import english, read_words
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.predict import HttpSettings
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.signals import PEOPLE_MIN
from tests.support.http_client import AppClient
from tests.support.model_topic import LEARNER, SCHEMA, Publisher, linear_tensors
from tests.support.serving import ServingWorld

FEATURES = {"url_length": 2, "age_days": 3.5, "tld": "com"}
ONE = {"model": "phishing", "features": FEATURES}
MEANINGS = {"phishing@1": {"url_length": "Length of the address.", "tld": "Ending of the domain."}}
WORDS = Path(__file__).parents[4] / "streams/serving/explain.en.toml"


class Site(ServingWorld):
    """A server with the examples that its model has learned from."""

    def open(self, arms: dict[str, ArmPlan] | None = None, **limits: Any) -> AppClient:
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1")
        return AppClient(
            build_app(
                self.follower,
                self.log,
                metrics,
                self.registry,
                self.clock,
                HttpSettings(**limits),
                arms=arms or {},
                explainer=Explainer(meanings=MEANINGS),
                history=self.broker.log(),
            )
        )

    def learned(self, kind: str, people: int, tld: str = "com", weight: float = 1.0) -> None:
        """Write an example of each of some people."""
        for number in range(people):
            example = {
                "example_id": f"{kind}-{tld}-{number}",
                "prediction_id": f"p-{kind}-{tld}-{number}",
                "feature_set": SCHEMA.id,
                "numeric": [1.0, 2.0],
                "categorical": [tld],
                "label": 1.0,
                "weight": weight,
                "subject": None if kind == "default" else f"secret-{number}",
                "kind": kind,
                "score": 0.5,
                "model": "phishing",
                "epoch": 1,
                "sequence": 0,
                "label_age_ms": 1,
                "predicted_at": 1,
                "occurred_at": 2,
                "origin_topic": "t",
                "origin_partition": 0,
                "origin_offset": 0,
            }
            value = codec.encode_record(catalogue.EXAMPLES, example)
            self.producer.send(catalogue.EXAMPLES, None, value, timestamp_ms=2, partition=0)

    def publish_after(self, examples: int) -> None:
        """Publish a version that has learned the first examples."""
        facts = Facts(
            "phishing",
            Version(1, 0),
            "linear/1",
            SCHEMA,
            published_at_ms=self.clock.now_ms(),
            offsets={0: examples, 1: 0},
            examples_total=examples,
        )
        self.publish(build_update(facts, linear_tensors(), None, LEARNER))


@pytest.fixture
def site() -> Site:
    world = Site()
    world.learned("thumb", 30)
    world.learned("click", 12, tld="org", weight=0.5)
    world.learned("correction", PEOPLE_MIN - 1, weight=4.0)
    world.publish_after(30 + 12 + PEOPLE_MIN - 1)
    return world


def texts(explained: dict[str, Any], part: str = "words") -> str:
    return " ".join(each["text"] for each in explained[part])


def test_contributions_sum_to_the_score_that_predict_gives(site: Site) -> None:
    client = site.open()
    score = client.post("/predict", json=ONE).json()["score"]
    explained = client.post("/explain", json=ONE).json()
    total = explained["base"] + sum(each["contribution"] for each in explained["features"]) + explained["remainder"]
    assert 1 / (1 + np.exp(-total)) == pytest.approx(score, abs=1e-12)
    assert explained["score"] == pytest.approx(score, abs=1e-12)
    assert (explained["method"], explained["unit"], explained["remainder"]) == ("exact", "log-odds", 0.0)
    points = [abs(each["points"]) for each in explained["features"]]
    assert points == sorted(points, reverse=True)


def test_a_prediction_is_explained_by_its_id_with_the_version_that_gave_it(site: Site) -> None:
    client = site.open()
    given = client.post("/predict", json={**ONE, "subject": "secret-1", "target_id": "secret-target"}).json()
    assert client.post("/explain", json={"prediction_id": given["prediction_id"]}).status_code == 404
    site.log.drain()
    publisher = Publisher(version=Version(1, 0))
    publisher.nudge(0)
    site.publish(publisher.publish(base=True, at_ms=site.clock.advance(1_000)))
    answer = client.post("/explain", json={"prediction_id": given["prediction_id"]})
    explained = answer.json()
    assert (explained["version"], explained["explained_version"]) == ("1.0", "1.0")
    assert (explained["score"], explained["prediction_id"]) == (given["score"], given["prediction_id"])
    assert explained["examples_total"] == 51
    assert {each["name"]: each["value"] for each in explained["features"]} == FEATURES
    assert "secret" not in answer.text


def test_where_the_version_that_answered_is_gone_a_newer_one_is_explained_and_that_is_said(site: Site) -> None:
    client = site.open()
    given = client.post("/predict", json=ONE).json()
    site.log.drain()
    lineage = site.follower.lineage("phishing")
    assert lineage is not None
    publisher = Publisher(version=Version(1, 0))
    publisher.nudge(0)
    site.publish(publisher.publish(base=True, at_ms=site.clock.advance(1_000)))
    lineage.kept.drop_between(Version(0, 0), Version(1, 1))
    explained = client.post("/explain", json={"prediction_id": given["prediction_id"]}).json()
    assert (explained["version"], explained["explained_version"]) == ("1.0", "1.1")
    assert explained["score"] == given["score"]
    assert explained["words"][0]["key"] == "newer"
    assert "1.0, is no longer kept here" in explained["words"][0]["text"]


def test_words_tell_what_moved_the_score_by_meanings_where_there_are_any(site: Site) -> None:
    explained = site.open().post("/explain", json=ONE).json()
    text = texts(explained)
    assert "Version 1.0 of the model phishing answered" in text
    assert "had learned from 51 examples" in text
    for each in explained["features"]:
        name = MEANINGS["phishing@1"].get(each["name"], each["name"]).rstrip(".")
        change = "raised" if each["points"] > 0 else "lowered"
        value = each["value"] if isinstance(each["value"], str) else f"{each['value']:g}"
        points = round(100 * abs(each["points"])) or 1
        assert (
            abs(each["points"]) < 0.005
        ) or f"{name}: {value}. This {change} the score by {points} of 100 points" in text
    assert {each["key"] for each in explained["words"]} <= set(english().sentences)
    assert {each["key"] for each in explained["limits"]} <= set(english().limits)


def test_kinds_of_signals_are_told_in_shares_unless_they_come_from_few_people(site: Site) -> None:
    explained = site.open().post("/explain", json=ONE).json()
    # 30 thumbs of weight 1 and 12 clicks of weight a half; corrections are of too few.
    assert explained["signals"] == [
        {"kind": "thumb", "share": 0.85},
        {"kind": "click", "share": 0.15},
    ]
    (tld,) = (each for each in explained["features"] if each["name"] == "tld")
    assert tld["signals"] == [{"kind": "thumb", "share": 1.0}]
    assert "thumbs up or down (85 %), clicks (15 %)" in texts(explained)
    assert "fewer than 10 people" in texts(explained, "limits")
    other = site.open().post("/explain", json={**ONE, "features": {**FEATURES, "tld": "net"}}).json()
    (tld,) = (each for each in other["features"] if each["name"] == "tld")
    assert tld["signals"] == []


def test_silence_counts_by_predictions_and_whoever_is_not_named_is_one_person() -> None:
    world = Site()
    world.learned("default", PEOPLE_MIN)
    for _ in range(PEOPLE_MIN + 5):
        world.learned("thumb", 1)
    world.publish_after(PEOPLE_MIN + PEOPLE_MIN + 5)
    explained = world.open().post("/explain", json=ONE).json()
    assert [each["kind"] for each in explained["signals"]] == ["default"]
    assert "nobody reacting (100 %)" in texts(explained)


def test_only_what_the_version_has_learned_is_told() -> None:
    world = Site()
    world.learned("thumb", 20)
    world.learned("click", 20)
    world.publish_after(20)
    assert [each["kind"] for each in world.open().post("/explain", json=ONE).json()["signals"]] == ["thumb"]


def test_without_a_readable_log_features_are_explained_all_the_same_and_it_says_what_is_missing(site: Site) -> None:
    client = site.open()
    site.broker.fail_next("read", Retryable("no answer"))
    explained = client.post("/explain", json=ONE).json()
    assert len(explained["features"]) == 3
    assert explained["signals"] == []
    assert "signals_none" in {each["key"] for each in explained["limits"]}
    assert client.post("/explain", json=ONE).json()["signals"] != []
    given = client.post("/predict", json=ONE).json()["prediction_id"]
    site.broker.fail_next("read", Retryable("no answer"))
    assert client.post("/explain", json={"prediction_id": given}).status_code == 503


def test_an_arm_is_explained_by_its_own_version() -> None:
    world = Site(settings=replace(Site().settings, models=("next", "phishing")))
    world.publish(Publisher().publish(base=True))
    world.publish(Publisher("next", tensors=linear_tensors(5)).publish(base=True))
    plan = ArmPlan.of("phishing", {"canary": Arm(model="next", share=0.5)})
    client = world.open({"phishing": plan})
    for arm, model in (("canary", "next"), ("default", "phishing")):
        unit = next(each for each in map(str, range(100)) if plan.arm_of(each) == arm)
        given = client.post("/predict", json={**ONE, "unit": unit}).json()
        explained = client.post("/explain", json={**ONE, "unit": unit}).json()
        assert (explained["model"], given["model"]) == (model, model)
        assert explained["score"] == pytest.approx(given["score"], abs=1e-12)
        world.log.drain()
        by_id = client.post("/explain", json={"prediction_id": given["prediction_id"]}).json()
        assert (by_id["model"], by_id["arm"]) == (model, f"phishing:{arm}")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"model": "phishing", "instances": [{"features": FEATURES}]}, 400, "instances"),
        ({"model": "phishing", "features": {}}, 400, "features.url_length"),
        ({"model": "clicks", "features": FEATURES}, 404, "model"),
        ({"prediction_id": 7}, 400, "prediction_id"),
        ({"prediction_id": "p-1"}, 404, "prediction_id"),
        ({"prediction_id": "0199c82c-c000-7bef-aa26-82f7d9edb54d"}, 404, "prediction_id"),
        ({"prediction_id": "0199C82C-C000-7BEF-AA26-82F7D9EDB54D"}, 404, "prediction_id"),
        ({"prediction_id": "0199c82c-c000-7bef-aa26-82f7d9edb54d", "model": "phishing"}, 400, "model"),
        ([], 400, "body"),
    ],
)
def test_what_is_wrong_is_named(site: Site, body: object, status: int, field: str) -> None:
    answer = site.open().post("/explain", json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field)


def test_limits_and_keys_are_those_of_predictions(site: Site) -> None:
    client = site.open(api_keys=("first-key",), body_bytes_max=1_000)
    assert client.post("/explain", json=ONE).status_code == 401
    assert client.post("/explain", json=ONE, headers={"authorization": "Bearer first-key"}).status_code == 200
    large = json.dumps({**ONE, "segment": "x" * 1_000}).encode()
    parts = (large[at : at + 100] for at in range(0, len(large), 100))
    headers = {"authorization": "Bearer first-key"}
    assert client.post("/explain", content=large, headers=headers).status_code == 413
    assert client.post("/explain", content=parts, headers=headers).status_code == 413
    assert client.get("/explain").status_code == 405
    assert (
        site.registry.get_sample_value("rheostat_serve_http_requests_total", {"route": "/explain", "status": "200"})
        == 1
    )


def test_what_is_answered_is_what_the_openapi_document_says(site: Site) -> None:
    client = site.open()
    described = client.get("/openapi.json").json()
    schema = described["components"]["schemas"]["Explanation"]
    given = client.post("/predict", json={**ONE, "arm": "layout:wide"}).json()
    site.log.drain()
    for body in (ONE, {"prediction_id": given["prediction_id"]}):
        explained = client.post("/explain", json=body).json()
        assert set(schema["required"]) <= set(explained) <= set(schema["properties"])
        feature = schema["properties"]["features"]["items"]
        for each in explained["features"]:
            assert set(feature["required"]) <= set(each) <= set(feature["properties"])


def test_a_score_that_no_version_gave_is_said_to_be_one() -> None:
    world = Site(FollowerSettings("server-1", ("phishing",), fallbacks={"phishing": Fallback(60_000, 0.25)}))
    world.publish(Publisher().publish(base=True, at_ms=world.clock.now_ms()))
    world.clock.advance(60_001)
    client = world.open()
    given = client.post("/predict", json=ONE).json()
    world.log.drain()
    explained = client.post("/explain", json={"prediction_id": given["prediction_id"]}).json()
    assert (explained["score"], explained["features"]) == (0.25, [])
    assert [each["key"] for each in explained["words"]] == ["fallback"]
    assert client.post("/explain", json=ONE).status_code == 503


def test_only_so_many_explanations_are_worked_on_and_predictions_do_not_wait_for_them(site: Site) -> None:
    client = site.open()
    route = next(each for each in client._app._routes.routes if each.path == EXPLAIN)  # type: ignore[attr-defined]
    explain = route.endpoint.args[-1]

    async def ask() -> tuple[list[int], int]:
        transport = httpx.ASGITransport(client._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as many:
            with explain._reading:
                waiting = [asyncio.create_task(many.post(EXPLAIN, json=ONE)) for _ in range(AT_ONCE_MAX)]
                while explain._working < AT_ONCE_MAX:
                    await asyncio.wait(waiting, timeout=0.01)
                refused = await many.post(EXPLAIN, json=ONE)
                predicted = await many.post("/predict", json=ONE)
                assert predicted.status_code == 200
            return [(await each).status_code for each in waiting], refused.status_code

    assert asyncio.run(ask()) == ([200] * AT_ONCE_MAX, 503)


def test_a_shadow_was_never_shown_and_is_not_explained(site: Site) -> None:
    client = site.open()
    given = client.post("/predict", json=ONE).json()
    site.log.drain()
    log = site.broker.log()
    partition = partition_for(given["prediction_id"].encode(), log.partitions("predictions"))
    (block,) = log.read("predictions", partition)
    record = codec.decode_record(catalogue.PREDICTIONS, block.values[0])
    shadow = {**record, "prediction_id": "0199c82c-c000-7bef-aa26-82f7d9edb54d", "flags": ["shadow"], "shadow_of": "x"}
    value = codec.encode_record(catalogue.PREDICTIONS, shadow)
    site.producer.send(
        catalogue.PREDICTIONS, shadow["prediction_id"].encode(), value, timestamp_ms=record["occurred_at"]
    )
    answer = client.post("/explain", json={"prediction_id": shadow["prediction_id"]})
    assert (answer.status_code, "never shown" in answer.json()["error"]) == (404, True)


def test_words_of_another_language_must_have_every_key_and_no_other_fields(tmp_path: Path) -> None:
    file = tmp_path / "de.toml"
    english_text = WORDS.read_text()
    file.write_text(english_text.replace("clicks", "Klicks"))
    assert read_words(file).kind("click") == "Klicks"
    for wrong, told in (
        (english_text.replace("raised = ", "hob = "), "raised"),
        (english_text.replace("{points} of 100 points.", "{score} of 100 points.", 1), "score"),
        (english_text.replace("{feature}:", "{feature.__class__}:", 1), "__class__"),
        (english_text.replace("{feature}:", "{feature", 1), "explain_words"),
        ("[sentences", "cannot be read"),
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=told):
            read_words(file)


def test_every_kind_of_signal_has_words() -> None:
    from rheostat.schemas.signals import KINDS

    assert set(english().kinds) == {*KINDS, "default"} - {"retraction"}
