"""The HTTP side of serving: answer predictions, say what runs, be scraped. No state of its own."""

from __future__ import annotations

import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from rheostat.streams.clock import Clock
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.serving.answers import Answer, actions_of, answer
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.prediction_log import Prediction, PredictionLog, new_prediction_id
from rheostat.streams.serving.requests import (
    BadRequest,
    Instance,
    PredictRequest,
    Row,
    TooLarge,
    batch_of,
    parse_request,
    read_actions,
    read_row,
)

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits. With `api_keys`, /predict and /models want `Authorization: Bearer KEY`; the other routes never do."""

    body_bytes_max: int = 1 << 20
    instances_max: int = 1_000
    prediction_ttl_ms: int = 30 * 60_000
    api_keys: tuple[str, ...] = field(default=(), repr=False)


class _Failed(Exception):
    """The answer to a request that cannot be served."""

    def __init__(self, status: int, reason: str, field_name: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.body = {"error": reason} if field_name is None else {"error": reason, "field": field_name}


def build_app(
    follower: ModelFollower,
    log: PredictionLog,
    metrics: Metrics,
    registry: CollectorRegistry,
    clock: Clock,
    settings: HttpSettings | None = None,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Return the application: POST /predict, GET /healthz, /models, /metrics."""
    service = _Service(follower, log, metrics, registry, clock, settings or HttpSettings())
    for model in follower.models:
        metrics.declare("serve", model)
    handlers = {
        "/predict": (service.predict, "POST"),
        "/healthz": (service.healthz, "GET"),
        "/models": (service.models, "GET"),
        "/metrics": (service.scrape, "GET"),
    }
    routes = [
        Route(path, partial(_answer, metrics, path, handler), methods=[method])
        for path, (handler, method) in handlers.items()
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _answer(metrics: Metrics, route: str, handler: Handler, request: Request) -> Response:
    """Run a handler, turn failures into answers, and count."""
    started = time.perf_counter()
    try:
        response = await handler(request)
    except _Failed as failed:
        response = JSONResponse(failed.body, failed.status)
    except ClientDisconnect:
        response = Response(status_code=400)
    metrics.http_answered(route, str(response.status_code), time.perf_counter() - started)
    return response


@dataclass(frozen=True, slots=True)
class _Service:
    follower: ModelFollower
    log: PredictionLog
    metrics: Metrics
    registry: CollectorRegistry
    clock: Clock
    settings: HttpSettings

    async def predict(self, request: Request) -> Response:
        """Score instances and log what was answered."""
        self._authorise(request)
        wanted = self._parse(await self._body(request))
        version = self._version(wanted.model)
        try:
            schema, actions = version.manifest.facts.schema, actions_of(version)
            rows = [read_row(schema, each) for each in wanted.instances]
            eligible = [read_actions(actions, each) for each in wanted.instances]
        except BadRequest as error:
            raise _Failed(400, error.reason, error.field) from error
        predictions = self._score(version, wanted, rows, eligible)
        self.log.add(predictions)
        self.metrics.serve_predictions_total.labels(wanted.model).inc(len(predictions))
        answers = [_answer_for(each) for each in predictions]
        return JSONResponse(answers[0] if wanted.single else {"predictions": answers})

    async def healthz(self, request: Request) -> Response:
        """Answer 200 when every followed model has a verified version, else 503 with what is missing."""
        missing = list(self.follower.missing())
        failures = [str(each) for each in (self.follower.failure, self.log.failure) if each is not None]
        healthy = self.follower.models and not missing and not failures and self.follower.caught_up
        body = {"status": "ok" if healthy else "unavailable", "missing": missing, "failures": failures}
        return JSONResponse({**body, "caught_up": self.follower.caught_up}, 200 if healthy else 503)

    async def models(self, request: Request) -> Response:
        """Say what runs."""
        self._authorise(request)
        return JSONResponse({"models": [self._describe(model) for model in self.follower.models]})

    async def scrape(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        self.follower.refresh_metrics()
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _authorise(self, request: Request) -> None:
        if not self.settings.api_keys:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        # Every key is compared, so that the time taken says nothing about which one was close.
        if not sum(hmac.compare_digest(given, key.encode()) for key in self.settings.api_keys):
            raise _Failed(401, "an API key is needed: Authorization: Bearer KEY")

    async def _body(self, request: Request) -> bytes:
        limit = self.settings.body_bytes_max
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise _Failed(413, f"the body is larger than {limit} bytes")
        return bytes(body)

    def _parse(self, body: bytes) -> PredictRequest:
        try:
            return parse_request(json.loads(body), self.settings.instances_max)
        except (ValueError, RecursionError) as error:
            raise _Failed(400, f"the body is not JSON: {error}", "body") from error
        except TooLarge as error:
            raise _Failed(413, error.reason, error.field) from error
        except BadRequest as error:
            raise _Failed(400, error.reason, error.field) from error

    def _version(self, model: str) -> ModelVersion:
        version = self.follower.current(model)
        if version is not None:
            return version
        if model in self.follower.models:
            raise _Failed(503, f"model {model!r} has no verified version yet", "model")
        known = ", ".join(self.follower.models) or "none"
        raise _Failed(404, f"no model is called {model[:64]!r}; known: {known}", "model")

    def _score(
        self, version: ModelVersion, wanted: PredictRequest, rows: list[Row], eligible: list[list[bool]]
    ) -> list[Prediction]:
        facts, now_ms = version.manifest.facts, self.clock.now_ms()
        ids = [new_prediction_id(now_ms) for _ in rows]
        answered = answer(version, batch_of(facts.schema, rows), ids, eligible)
        if not all(math.isfinite(each.score) for each in answered):
            raise _Failed(500, f"model {facts.model!r} {facts.version} gives no number for these features")

        def prediction(prediction_id: str, instance: Instance, row: Row, given: Answer) -> Prediction:
            return Prediction(
                prediction_id=prediction_id,
                model=facts.model,
                version=facts.version,
                feature_set=facts.schema.id,
                numeric=row.numeric,
                categorical=row.categorical,
                score=given.score,
                occurred_at_ms=now_ms,
                expires_at_ms=now_ms + self.settings.prediction_ttl_ms,
                target_id=instance.target_id,
                subject_id=instance.subject,
                segment=instance.segment,
                arm=instance.arm,
                action=given.action,
                propensity=given.propensity,
            )

        return list(map(prediction, ids, wanted.instances, rows, answered))

    def _describe(self, model: str) -> dict[str, Any]:
        lineage, version = self.follower.lineage(model), self.follower.current(model)
        about = {"model": model, "state": None if lineage is None else lineage.state}
        if version is None:
            return about
        published_at = version.manifest.facts.published_at_ms
        return {
            **about,
            "version": str(version.version),
            "digest": version.digest,
            "learner": version.manifest.facts.learner,
            "feature_set": version.manifest.facts.schema.id,
            "age_ms": max(0, self.clock.now_ms() - published_at),
            "refused": None if lineage is None else lineage.refused,
            "kept_versions": 0 if lineage is None else len(lineage.kept),
        }


def _answer_for(prediction: Prediction) -> dict[str, Any]:
    chosen = {} if prediction.action is None else {"action": prediction.action, "propensity": prediction.propensity}
    return {
        "prediction_id": prediction.prediction_id,
        "model": prediction.model,
        "version": str(prediction.version),
        "score": prediction.score,
        **chosen,
        "expires_at": prediction.expires_at_ms,
    }
