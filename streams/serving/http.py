"""The HTTP side of serving: answer predictions, say what runs, be scraped. No state of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from rheostat.streams.clock import Clock
from rheostat.streams.engine.stage import Log
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.arm_answers import ArmedModel
from rheostat.streams.serving.arms import ArmPlan
from rheostat.streams.serving.draining import Drain, closing
from rheostat.streams.serving.explain import Explainer
from rheostat.streams.serving.explain_route import EXPLAIN, ExplainRoute
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.openapi import openapi_document
from rheostat.streams.serving.predict import PREDICT, Failed, HttpSettings, PredictRoute, authorise
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.shadows import Shadows

Handler = Callable[[Request], Awaitable[Response]]
NO_ARMS: Mapping[str, ArmPlan] = {}


def build_app(
    follower: ModelFollower,
    log: PredictionLog,
    metrics: Metrics,
    registry: CollectorRegistry,
    clock: Clock,
    settings: HttpSettings | None = None,
    lifespan: Lifespan[Starlette] | None = None,
    drain: Drain | None = None,
    arms: Mapping[str, ArmPlan] = NO_ARMS,
    shadows: Shadows | None = None,
    explainer: Explainer | None = None,
    history: Log | None = None,
) -> ASGIApp:
    """Return the application: POST /predict, /explain, GET /healthz, /models, /metrics, /openapi.json.

    arms: by model. shadows: what answers without being shown; whoever gives it starts and ends it. history: where
    explanations find predictions and what was learned.
    """
    settings, drain = settings or HttpSettings(), drain or Drain()
    about = _About(follower, log, registry, clock, settings, drain)
    for model in follower.models:
        metrics.declare("serve", model)
    armed = {model: ArmedModel(plan, follower, metrics) for model, plan in arms.items()}
    shadows = Shadows(log, clock) if shadows is None else shadows
    predict = PredictRoute(follower, log, metrics, clock, settings, armed, shadows)
    handlers = {
        "/healthz": about.healthz,
        "/models": about.models,
        "/metrics": about.scrape,
        "/openapi.json": about.openapi,
    }
    routes = [Route(path, partial(_answer, metrics, path, handler)) for path, handler in handlers.items()]
    routes.append(Route(PREDICT, predict, methods=["POST"]))
    explain = ExplainRoute(follower, history, explainer or Explainer(), settings, armed)
    routes.append(Route(EXPLAIN, partial(_answer, metrics, EXPLAIN, explain), methods=["POST"]))
    return _App(predict, Starlette(routes=routes, lifespan=lifespan), drain)


class _App:
    """Predictions go straight to their route: the way through the others' costs more than a prediction."""

    def __init__(self, predict: ASGIApp, routes: ASGIApp, drain: Drain) -> None:
        self._predict = predict
        self._routes = routes
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        if self._drain.begun:
            send = closing(send)
        predict = scope["path"] == PREDICT and scope["method"] == "POST"
        await (self._predict if predict else self._routes)(scope, receive, send)


async def _answer(metrics: Metrics, route: str, handler: Handler, request: Request) -> Response:
    """Run a handler, turn failures into answers, and count."""
    started = time.perf_counter()
    try:
        response = await handler(request)
    except Failed as failed:
        response = JSONResponse(failed.body, failed.status)
    metrics.http_answered(route, str(response.status_code), time.perf_counter() - started)
    return response


@dataclass(frozen=True, slots=True)
class _About:
    """What the server says about itself."""

    follower: ModelFollower
    log: PredictionLog
    registry: CollectorRegistry
    clock: Clock
    settings: HttpSettings
    drain: Drain

    async def healthz(self, request: Request) -> Response:
        """Answer 200 when it can answer for every followed model and is not about to end, else 503 and why."""
        missing = list(self.follower.missing())
        failures = [str(each) for each in (self.follower.failure, self.log.failure) if each is not None]
        healthy = self.follower.models and self.follower.ready and not failures and not self.drain.begun
        status = "draining" if self.drain.begun else "ok" if healthy else "unavailable"
        # One that is too old is said and no reason to be left out: it is old on all servers alike.
        too_old = [model for model in self.follower.models if self.follower.too_old(model)]
        body = {"status": status, "missing": missing, "too_old": too_old, "failures": failures}
        return JSONResponse({**body, "caught_up": self.follower.caught_up}, 200 if healthy else 503)

    async def models(self, request: Request) -> Response:
        """Say what runs."""
        authorise(request.scope, self.settings.api_keys)
        return JSONResponse({"models": [self._describe(model) for model in self.follower.models]})

    async def scrape(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        self.follower.refresh_metrics()
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, request: Request) -> Response:
        """Answer with the OpenAPI document of the models that are served now."""
        authorise(request.scope, self.settings.api_keys)
        scorers = [scorer for model in self.follower.models if (scorer := self.follower.scorer(model)) is not None]
        keys = bool(self.settings.api_keys)
        return JSONResponse(openapi_document(scorers, self.settings.instances_max, keys=keys))

    def _describe(self, model: str) -> dict[str, Any]:
        lineage, version = self.follower.lineage(model), self.follower.current(model)
        head = None if lineage is None else lineage.head
        about: dict[str, Any] = {"model": model, "state": None if lineage is None else lineage.state}
        if head is not None:
            facts = head.manifest.facts
            about |= {"mode": facts.mode, "newest": str(head.version), "withheld": list(facts.withheld)}
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
            "too_old": self.follower.too_old(model),
            "refused": None if lineage is None else lineage.refused,
            "kept_versions": 0 if lineage is None else len(lineage.kept),
        }
