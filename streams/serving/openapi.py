"""What the server answers, as an OpenAPI 3.1 document: with the features and actions of the models it serves now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rheostat.learners.contract import FeatureSchema
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.requests import CATEGORY_CHARS_MAX, TEXT_CHARS_MAX

Json = dict[str, Any]

_KEY = "apiKey"
_TEXT = {"type": ["string", "null"], "minLength": 1, "maxLength": TEXT_CHARS_MAX}
_READY = "the newest verified version of every followed model is in use, and the server is not about to end"


def openapi_document(scorers: Iterable[Scorer], instances_max: int, *, keys: bool) -> Json:
    """Return the document; `keys`: whether an API key is wanted."""
    models = {scorer.version.model: scorer for scorer in scorers}
    schemas: Json = {"Answer": _answer(), "Answers": _answers(), "Explanation": _explanation(), "Failure": _failure()}
    for name, scorer in models.items():
        schemas[f"{name}.features"] = _features(scorer.schema)
        schemas[f"{name}.instance"] = _object(_instance(name, scorer.actions), ["features"])
        schemas[f"{name}.request"] = _request(name, scorer.actions)
        schemas[f"{name}.batch"] = _batch(name, instances_max)
    secured: Json = {"security": [{_KEY: []}]} if keys else {}
    asked = [_reference(f"{name}.{form}") for name in models for form in ("request", "batch")]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rheostat",
            "version": "1",
            "summary": "Predictions by the newest verified versions of models.",
        },
        "paths": {
            "/predict": {"post": {**_predict(asked, keys), **secured}},
            "/explain": {"post": {**_explain([_reference(f"{name}.request") for name in models], keys), **secured}},
            "/models": {"get": {**_get("What runs: model, version, digest, age, what was refused.", keys), **secured}},
            "/healthz": {"get": _health()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": {**_get("This document.", keys), **secured}},
        },
        "components": {
            "schemas": schemas,
            **({"securitySchemes": {_KEY: {"type": "http", "scheme": "bearer"}}} if keys else {}),
        },
    }


def _predict(asked: list[Json], keys: bool) -> Json:
    failures = {
        "400": "The field that is wrong; nothing is logged.",
        **({"401": "A key is wanted, and none was given."} if keys else {}),
        "404": "There is no such model.",
        "413": "The body or the batch is too large.",
        "503": "The model has no verified version yet, or none that is young enough.",
    }
    answer = _content("What was answered.", {"anyOf": [_reference("Answer"), _reference("Answers")]})
    return _posted("Score one instance, or many.", asked, answer, failures)


def _explain(asked: list[Json], keys: bool) -> Json:
    failures = {
        "400": "The field that is wrong.",
        **({"401": "A key is wanted, and none was given."} if keys else {}),
        "404": "There is no such model or prediction, or none of which anything is kept any more.",
        "413": "The body is too large.",
        "503": "The model has no version to explain, or too many explanations are being worked on.",
    }
    shown = {
        "prediction_id": {"type": "string", "description": "Of an answer that was given, some moments ago at least."}
    }
    answer = _content("What moved the score.", _reference("Explanation"))
    return _posted("Explain an answer.", [_object(shown, ["prediction_id"]), *asked], answer, failures)


def _posted(summary: str, asked: list[Json], answer: Json, failures: Mapping[str, str]) -> Json:
    body = {"anyOf": asked} if asked else {"type": "object"}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": answer,
            **{status: _content(what, _reference("Failure")) for status, what in failures.items()},
        },
    }


def _request(model: str, actions: tuple[str, ...]) -> Json:
    return _object({"model": {"const": model}, **_instance(model, actions)}, ["model", "features"])


def _batch(model: str, instances_max: int) -> Json:
    instances = {"type": "array", "items": _reference(f"{model}.instance"), "minItems": 1, "maxItems": instances_max}
    return _object(
        {"model": {"const": model}, "instances": instances, "arm": _arm(), "unit": _unit()}, ["model", "instances"]
    )


def _instance(model: str, actions: tuple[str, ...]) -> Json:
    chosen = {"type": ["array", "null"], "items": {"enum": list(actions)}, "minItems": 1}
    return {
        "features": _reference(f"{model}.features"),
        **(
            {"actions": {**chosen, "description": "Those that may be chosen; all, if it is left out."}}
            if actions
            else {}
        ),
        "target_id": {**_TEXT, "description": "What is judged."},
        "subject": {**_TEXT, "description": "For whom, as a pseudonym."},
        "segment": {**_TEXT, "description": "Group for per-segment evaluation."},
        "arm": _arm(),
        "unit": _unit(),
    }


def _features(schema: FeatureSchema) -> Json:
    category = {"type": ["string", "null"], "maxLength": CATEGORY_CHARS_MAX}
    properties = {
        **{name: {"type": "number"} for name in schema.numeric},
        **dict.fromkeys(schema.categorical, category),
    }
    free = {name for name, _ in schema.training_only}
    return {**_object(properties, [name for name in properties if name not in free]), "description": schema.id}


def _arm() -> Json:
    return {"type": ["string", "null"], "description": "experiment:variant, several joined by a comma."}


def _unit() -> Json:
    return {**_TEXT, "description": "What always meets the same arm of the model; the subject, if it is left out."}


def _answer() -> Json:
    properties = {
        "prediction_id": {"type": "string", "description": "Feedback names it."},
        "model": {"type": "string"},
        "version": {"type": "string", "description": "epoch.sequence"},
        "score": {"type": "number"},
        "action": {"type": "string", "description": "Of a model that chooses."},
        "propensity": {"type": "number", "description": "The probability that the action had."},
        "arm": {"type": "string", "description": "Of a model with arms: `MODEL:ARM`, beside those that were given."},
        "arm_propensity": {
            "type": "number",
            "description": "The probability that the arm had; none where it was named.",
        },
        "sticky": {"const": False, "description": "There was no unit: the next request may meet another arm."},
        "arm_fallback": {"const": True, "description": "The default answered in the place of an arm that could not."},
        "fallback": {"const": True, "description": "The model's version is too old, and was not asked."},
        "expires_at": {"type": "integer", "description": "ms since 1970"},
    }
    return _object(properties, ["prediction_id", "model", "version", "score", "expires_at"])


def _answers() -> Json:
    return _object({"predictions": {"type": "array", "items": _reference("Answer")}}, ["predictions"])


def _explanation() -> Json:
    number, text = {"type": "number"}, {"type": "string"}
    share = _object({"kind": text, "share": number}, ["kind", "share"])
    shares = {"type": "array", "items": share, "description": "Kinds of signals that were learned last, by weight."}
    feature = {
        "name": text,
        "meaning": {"type": "string", "description": "From the feature dictionary."},
        "value": {"type": ["number", "string"]},
        "contribution": {"type": "number", "description": "In `unit`."},
        "points": {"type": "number", "description": "How far the score would be off without it."},
        "signals": {**shares, "description": "Those of examples with this text."},
    }
    features = {"type": "array", "items": _object(feature, ["name", "value", "contribution", "points"])}
    said = {"type": "array", "items": _object({"key": text, "text": text}, ["key", "text"])}
    properties = {
        "prediction_id": text,
        "arm": text,
        "model": text,
        "version": {"type": "string", "description": "The version that answered."},
        "explained_version": {
            "type": "string",
            "description": "The one explained: a newer one where that is not kept.",
        },
        "published_at": {"type": "integer", "description": "Of the one explained; ms since 1970"},
        "examples_total": {"type": "integer", "description": "How many it had learned from."},
        "learner": text,
        "score": number,
        "action": text,
        "unit": {"enum": ["log-odds", "score"], "description": "Of base, contributions, remainder and value."},
        "method": {"enum": ["exact", "occlusion"]},
        "reference": {"enum": ["mean", "zero"], "description": "What inputs are compared with."},
        "base": {"type": "number", "description": "value = base + contributions + remainder"},
        "remainder": {"type": "number", "description": "What features do only together."},
        "value": number,
        "features": {**features, "description": "The strongest first."},
        "signals": shares,
        "words": {**said, "description": "For users to read."},
        "limits": {**said, "description": "What this cannot know."},
    }
    return _object(properties, ["model", "score", "features", "signals", "words", "limits"])


def _failure() -> Json:
    field = {"type": "string", "description": "Path of what is wrong."}
    return _object({"error": {"type": "string"}, "field": field}, ["error"])


def _health() -> Json:
    body: Json = {"type": "object"}
    return {
        "summary": "Whether it can answer.",
        "responses": {
            "200": _content(f"Yes: {_READY}.", body),
            "503": _content("No, and why.", body),
        },
    }


def _metrics() -> Json:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"summary": "Metrics for Prometheus.", "responses": {"200": {"description": "The metrics.", **text}}}


def _get(summary: str, keys: bool) -> Json:
    refused = {"401": _content("A key is wanted, and none was given.", _reference("Failure"))} if keys else {}
    return {"summary": summary, "responses": {"200": _content(summary, {"type": "object"}), **refused}}


def _object(properties: Mapping[str, Any], required: list[str]) -> Json:
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
