"""The OpenAPI document says what the server takes and gives, no more and no less."""

from __future__ import annotations

from typing import Any

import pytest

from rheostat.streams.serving.requests import CATEGORY_CHARS_MAX, TEXT_CHARS_MAX
from tests.support.http_client import AppClient
from tests.support.model_topic import Publisher
from tests.support.serving import ServingWorld
from tests.unit.streams.serving.test_http import Site

Json = dict[str, Any]
VALUES: Json = {
    "model": "phishing",
    "features": {"url_length": 12, "age_days": 3.5, "tld": "com"},
    "target_id": "site-1",
    "subject": "s-1",
    "segment": "de",
    "arm": "ranker-v2:treatment",
    "unit": "s-1",
    "instances": [{"features": {"url_length": 12, "age_days": 3.5, "tld": "com"}}],
}


@pytest.fixture
def client() -> AppClient:
    site = Site()
    site.publish(Publisher().publish(base=True))
    return site.open(instances_max=3)


def schemas(client: AppClient) -> Json:
    found: Json = client.get("/openapi.json").json()["components"]["schemas"]
    return found


def answered(client: AppClient, body: Json) -> int:
    return int(client.post("/predict", json=body).status_code)


@pytest.mark.parametrize("form", ["request", "batch"])
def test_what_is_required_is_what_may_not_be_left_out_and_nothing_else_is_taken(client: AppClient, form: str) -> None:
    described = schemas(client)[f"phishing.{form}"]
    assert described["additionalProperties"] is False
    whole = {name: VALUES[name] for name in described["properties"]}
    assert answered(client, whole) == 200
    for name in whole:
        left = {other: value for other, value in whole.items() if other != name}
        assert (answered(client, left) == 200) is (name not in described["required"])
        if name not in described["required"]:
            assert "null" in described["properties"][name]["type"]
            assert answered(client, {**whole, name: None}) == 200
    assert answered(client, {**whole, "more": 1}) == 400


def test_features_are_those_of_the_version_in_use_with_their_kinds(client: AppClient) -> None:
    described = schemas(client)["phishing.features"]
    assert sorted(described["required"]) == sorted(described["properties"]) == sorted(VALUES["features"])
    examples = {"number": 1.5, "string": "text", "null": None}
    for name, kind in described["properties"].items():
        kinds = kind["type"] if isinstance(kind["type"], list) else [kind["type"]]
        for each, value in examples.items():
            body = {"model": "phishing", "features": {**VALUES["features"], name: value}}
            assert (answered(client, body) == 200) is (each in kinds)


def test_limits_are_those_that_hold(client: AppClient) -> None:
    described = schemas(client)
    most = described["phishing.batch"]["properties"]["instances"]["maxItems"]
    sizes = {count: {"model": "phishing", "instances": VALUES["instances"] * count} for count in (0, 1, most, most + 1)}
    assert {count: answered(client, body) for count, body in sizes.items()} == {
        0: 400,
        1: 200,
        most: 200,
        most + 1: 413,
    }
    one = {"model": "phishing", "features": VALUES["features"]}
    longest = described["phishing.request"]["properties"]["segment"]["maxLength"]
    assert longest == TEXT_CHARS_MAX
    assert [answered(client, {**one, "segment": "x" * length}) for length in (0, longest, longest + 1)] == [
        400,
        200,
        400,
    ]
    longest = described["phishing.features"]["properties"]["tld"]["maxLength"]
    assert longest == CATEGORY_CHARS_MAX
    texts = ["x" * length for length in (0, longest, longest + 1)]
    bodies = [{**one, "features": {**VALUES["features"], "tld": text}} for text in texts]
    assert [answered(client, body) for body in bodies] == [200, 200, 400]


def test_an_answer_has_what_is_described(client: AppClient) -> None:
    described = schemas(client)
    answer = client.post("/predict", json={"model": "phishing", "features": VALUES["features"]}).json()
    assert set(described["Answer"]["required"]) <= answer.keys() <= described["Answer"]["properties"].keys()
    batch = client.post("/predict", json={"model": "phishing", "instances": VALUES["instances"]}).json()
    assert batch.keys() == described["Answers"]["properties"].keys()
    failure = client.post("/predict", json={"model": "phishing"}).json()
    assert failure.keys() == described["Failure"]["properties"].keys()


def test_every_route_is_there_and_every_reference_leads_somewhere(client: AppClient) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        assert list(methods) in (["get"], ["post"])
        status = client.post(path, json=VALUES).status_code if "post" in methods else client.get(path).status_code
        assert str(status) in methods[next(iter(methods))]["responses"]
    references = {value for key, value in walked(document) if key == "$ref"}
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_without_a_version_nothing_is_said_about_a_model() -> None:
    site = Site()
    assert not [name for name in schemas(site.open()) if name.startswith("phishing")]


def test_a_key_is_wanted_where_one_is_configured() -> None:
    site: ServingWorld = Site()
    assert isinstance(site, Site)
    client = site.open(api_keys=("secret",))
    assert client.get("/openapi.json").status_code == 401
    document = client.get("/openapi.json", headers={"authorization": "Bearer secret"}).json()
    assert all(
        "security" in document["paths"][path][method] for path, method in (("/predict", "post"), ("/models", "get"))
    )


def walked(value: object) -> list[tuple[str, Any]]:
    """Return every key with its value, at any depth."""
    if isinstance(value, list):
        return [pair for each in value for pair in walked(each)]
    if not isinstance(value, dict):
        return []
    return [*value.items(), *(pair for each in value.values() for pair in walked(each))]
