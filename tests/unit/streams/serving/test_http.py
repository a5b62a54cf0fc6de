import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.features import batch_from_columns
from rheostat.schemas import catalogue, codec
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.draining import Drain
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.predict import HttpSettings
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.requests import BadRequest, parse_request
from tests.support.http_client import AppClient
from tests.support.model_topic import SCHEMA, Publisher
from tests.support.serving import ServingWorld

FEATURES = {"url_length": 12, "age_days": 3.5, "tld": "com"}
ONE = {"model": "phishing", "features": FEATURES}
SAID = {"target_id": "site-1", "subject": "s-1", "segment": "de", "arm": "ranker-v2:treatment"}


class Site(ServingWorld):
    """A server with its HTTP side."""

    def open(self, **limits: Any) -> AppClient:
        metrics = self.follower._metrics
        assert isinstance(metrics, Metrics)
        self.log = PredictionLog(self.broker.producer(), metrics, "server-1", queue_max=limits.pop("queue_max", 1000))
        drain = limits.pop("drain", None)
        settings = HttpSettings(**limits)
        app = build_app(self.follower, self.log, metrics, self.registry, self.clock, settings, drain=drain)
        return AppClient(app)

    def logged(self) -> list[dict[str, Any]]:
        self.log.drain()
        log = self.broker.log()
        blocks = [block for p in range(log.partitions("predictions")) for block in log.read("predictions", p)]
        return [codec.decode_record(catalogue.PREDICTIONS, value) for block in blocks for value in block.values]


@pytest.fixture
def site() -> Iterator[Site]:
    world = Site()
    world.publish(Publisher().publish(base=True))
    yield world
    world.follower.stop()


def test_a_prediction_is_that_of_the_version_in_use_and_is_logged_with_its_features(site: Site) -> None:
    answer = site.open().post("/predict", json={**ONE, **SAID})
    assert answer.status_code == 200
    body = answer.json()
    version = site.follower.current("phishing")
    assert version is not None
    expected = version.predictor.predict(batch_from_columns(SCHEMA, [[12.0, 3.5]], [["com"]]))[0]
    now_ms = site.clock.now_ms()
    assert body == {
        "prediction_id": body["prediction_id"],
        "model": "phishing",
        "version": "1.0",
        "score": expected,
        "expires_at": now_ms + 30 * 60_000,
    }
    (logged,) = site.logged()
    assert logged == {
        "prediction_id": body["prediction_id"],
        "model": "phishing",
        "epoch": 1,
        "sequence": 0,
        "feature_set": "phishing@1",
        "numeric": [12.0, 3.5],
        "categorical": ["com"],
        "target_id": "site-1",
        "subject_id": "s-1",
        "segment": "de",
        "action": None,
        "propensity": None,
        "score": expected,
        "arm": "ranker-v2:treatment",
        "flags": [],
        "occurred_at": now_ms,
        "expires_at": now_ms + 30 * 60_000,
        "source": "server-1",
        "arm_propensity": None,
        "shadow_of": None,
    }


def test_a_batch_is_answered_in_order_with_an_id_for_each(site: Site) -> None:
    client = site.open()
    instances = [{"features": {**FEATURES, "url_length": length}} for length in range(25)]
    batch = client.post("/predict", json={"model": "phishing", "instances": instances}).json()["predictions"]
    singles = [client.post("/predict", json={"model": "phishing", **each}).json() for each in instances]
    assert [each["score"] for each in batch] == pytest.approx([each["score"] for each in singles], abs=1e-12)
    assert len({each["prediction_id"] for each in batch + singles}) == 50
    assert len(site.logged()) == 50


def test_the_arm_of_a_batch_is_that_of_instances_without_one_of_their_own(site: Site) -> None:
    said: list[dict[str, Any]] = [{}, {"arm": None}, {"arm": "layout:wide"}]
    instances = [{"features": FEATURES, **each} for each in said]
    batch = {"model": "phishing", "instances": instances}
    client = site.open()
    answered = client.post("/predict", json={**batch, "arm": "ranker-v2:treatment"}).json()["predictions"]
    answered += client.post("/predict", json=batch).json()["predictions"]
    arms = {each["prediction_id"]: each["arm"] for each in site.logged()}
    assert [arms[each["prediction_id"]] for each in answered] == [
        *("ranker-v2:treatment", "ranker-v2:treatment", "layout:wide"),
        *(None, None, "layout:wide"),
    ]


def test_arms_are_logged_in_one_spelling(site: Site) -> None:
    assert site.open().post("/predict", json={**ONE, "arm": "ranker-v2:b,checkout:short"}).status_code == 200
    assert site.logged()[0]["arm"] == "checkout:short,ranker-v2:b"


def changed(**features: object) -> dict[str, Any]:
    return {"model": "phishing", "features": {**FEATURES, **features}}


def without(name: str) -> dict[str, Any]:
    return {"model": "phishing", "features": {key: value for key, value in FEATURES.items() if key != name}}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (without("age_days"), 400, "features.age_days"),
        (without("tld"), 400, "features.tld"),
        (changed(extra=1), 400, "features.extra"),
        (changed(url_length="12"), 400, "features.url_length"),
        (changed(url_length=True), 400, "features.url_length"),
        (changed(url_length=None), 400, "features.url_length"),
        (changed(url_length=10**400), 400, "features.url_length"),
        (changed(tld=7), 400, "features.tld"),
        (changed(tld="x" * 1025), 400, "features.tld"),
        (changed(tld="\ud800"), 400, "features.tld"),
        ({"model": "phishing"}, 400, "features"),
        ({"model": "phishing", "features": []}, 400, "features"),
        ({"features": FEATURES}, 400, "model"),
        ({**ONE, "segments": "de"}, 400, "segments"),
        ({**ONE, "segment": 7}, 400, "segment"),
        ({**ONE, "target_id": ""}, 400, "target_id"),
        ({**ONE, "arm": ""}, 400, "arm"),
        ({**ONE, "arm": 7}, 400, "arm"),
        ({**ONE, "arm": {"ranker-v2": "treatment"}}, 400, "arm"),
        ({**ONE, "arm": "treatment"}, 400, "arm"),
        ({**ONE, "arm": "ranker-v2:" + "x" * 65}, 400, "arm"),
        ({**ONE, "arm": "ranker-v2:a,ranker-v2:b"}, 400, "arm"),
        ({**ONE, "arm": "ranker-v2:\ud800"}, 400, "arm"),
        ({**ONE, "\ud800": 1}, 400, "\\ud800"),
        (changed(**{"\ud800": 1}), 400, "features.\\ud800"),
        ({"model": "phishing", "instances": [{"features": FEATURES}], "arm": 7}, 400, "arm"),
        ({"model": "phishing", "instances": [{"features": FEATURES, "arm": "b"}]}, 400, "instances[0].arm"),
        ({"model": "phishing", "instances": []}, 400, "instances"),
        ({"model": "phishing", "instances": [ONE]}, 400, "instances[0].model"),
        ({"model": "phishing", "instances": [{"features": FEATURES}, {}]}, 400, "instances[1].features"),
        ({"model": "phishing", "instances": [{"features": FEATURES}] * 6}, 413, "instances"),
        ({"model": "clicks", "features": FEATURES}, 404, "model"),
        ([], 400, "body"),
    ],
)
def test_what_is_wrong_is_named(site: Site, body: object, status: int, field: str) -> None:
    answer = site.open(instances_max=5).post("/predict", content=json.dumps(body))
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert answer.json()["error"]
    assert not site.logged()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"model": 1e999', "\xff", '{"a": ' + "9" * 5_000 + "}"])
def test_bodies_that_are_not_json_are_refused(site: Site, text: str) -> None:
    answer = site.open().post("/predict", content=text.encode("latin-1"))
    assert (answer.status_code, answer.json()["field"]) == (400, "body")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(site: Site, number: str) -> None:
    text = json.dumps(changed(url_length="NUMBER")).replace('"NUMBER"', number)
    answer = site.open().post("/predict", content=text)
    assert (answer.status_code, answer.json()["field"]) == (400, "features.url_length")


def test_a_body_over_the_limit_is_refused_whether_or_not_its_length_is_announced(site: Site) -> None:
    client = site.open(body_bytes_max=1_000)
    large = json.dumps(changed(tld="x" * 1_000)).encode()
    parts = (large[at : at + 100] for at in range(0, len(large), 100))
    assert client.post("/predict", content=large).status_code == 413
    assert client.post("/predict", content=parts).status_code == 413


def test_a_missing_category_is_null(site: Site) -> None:
    assert site.open().post("/predict", json=changed(tld=None)).status_code == 200
    assert site.logged()[0]["categorical"] == [""]


def test_without_a_verified_version_there_is_no_answer_and_no_health() -> None:
    world = Site()
    client = world.open()
    assert client.post("/predict", json=ONE).status_code == 503
    health = client.get("/healthz")
    assert (health.status_code, health.json()["missing"]) == (503, ["phishing"])
    world.publish(Publisher().publish(base=True))
    assert client.post("/predict", json=ONE).status_code == 200
    assert client.get("/healthz").json()["status"] == "ok"
    world.follower.failure = RuntimeError("the thread ended")
    assert client.get("/healthz").json()["failures"] == ["the thread ended"]
    assert client.get("/healthz").status_code == 503


def test_a_server_that_was_told_to_end_says_so_answers_on_and_lets_connections_go(site: Site) -> None:
    drain = Drain()
    client = site.open(drain=drain)
    assert "connection" not in client.post("/predict", json=ONE).headers
    drain.begun = True
    health = client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "draining")
    for answer in (client.post("/predict", json=ONE), client.get("/models"), client.post("/predict", json={})):
        assert answer.headers["connection"] == "close"
        assert answer.status_code in (200, 400)
    assert len(site.logged()) == 2


def test_other_methods_and_paths_are_refused(site: Site) -> None:
    client = site.open()
    assert client.get("/predict").status_code == 405
    assert client.post("/healthz").status_code == 405
    assert client.get("/secrets").status_code == 404


def test_models_says_what_runs(site: Site) -> None:
    site.clock.advance(1_000)
    (about,) = site.open().get("/models").json()["models"]
    version = site.follower.current("phishing")
    assert version is not None
    assert (about["model"], about["version"], about["digest"]) == ("phishing", "1.0", version.digest)
    assert (about["state"], about["refused"], about["learner"]) == ("live", None, "linear/1")
    assert about["age_ms"] == site.clock.now_ms() - version.manifest.facts.published_at_ms


def test_metrics_count_what_was_answered(site: Site) -> None:
    client = site.open()
    client.post("/predict", json={"model": "phishing", "instances": [{"features": FEATURES}] * 3})
    client.post("/predict", json={})
    text = client.get("/metrics").text
    assert 'rheostat_serve_predictions_total{model="phishing"} 3.0' in text
    assert 'rheostat_serve_http_requests_total{route="/predict",status="400"} 1.0' in text
    assert 'rheostat_follower_version_age_seconds{model="phishing"}' in text


def test_api_keys_guard_predictions_and_models_only(site: Site) -> None:
    client = site.open(api_keys=("first-key", "second-key"))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}):
        answer = client.post("/predict", json=ONE, headers=headers)
        assert answer.status_code == 401
        assert "first-key" not in answer.text
    for key in ("first-key", "second-key"):
        assert client.post("/predict", json=ONE, headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/models").status_code == 401
    assert client.get("/healthz").status_code == client.get("/metrics").status_code == 200
    assert "first-key" not in repr(HttpSettings(api_keys=("first-key",)))


def test_a_full_log_drops_and_counts_but_answers(site: Site) -> None:
    client = site.open(queue_max=2)
    answer = client.post("/predict", json={"model": "phishing", "instances": [{"features": FEATURES}] * 5})
    assert len(answer.json()["predictions"]) == 5
    assert (site.log.added, site.log.dropped) == (2, 3)
    assert site.registry.get_sample_value("rheostat_serve_dropped_predictions_total") == 3.0
    kept = [each["prediction_id"] for each in answer.json()["predictions"][:2]]
    assert sorted(each["prediction_id"] for each in site.logged()) == sorted(kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "features", "instances", "tld", "url_length", "age_days", "segment", "arm"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSON)
def test_any_json_is_a_request_or_a_named_mistake(body: Any) -> None:
    try:
        request = parse_request(body, 10)
    except BadRequest as error:
        named = bool(error.field and error.reason)
    else:
        named = bool(request.model and request.instances)
    assert named
