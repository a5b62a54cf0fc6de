"""The route of predictions, from the bytes of a request to those of its answer: plain ASGI, as it is called most."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from rheostat.streams.clock import Clock
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.answered import Asked, NoNumber, answer_json, answer_json_with_arm, predictions_of
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.apprentice import Apprentices
from rheostat.streams.serving.arm_answers import ArmedModel
from rheostat.streams.serving.fallback import FALLBACK
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.predictions import new_prediction_id
from rheostat.streams.serving.requests import (
    BadRequest,
    PredictRequest,
    TooLarge,
    parse_request,
    read_actions,
    read_row,
)
from rheostat.streams.serving.shadows import Shadows, Shown

PREDICT = "/predict"
_CLIENT_LEFT = 400


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits. With `api_keys`, all but /healthz and /metrics want `Authorization: Bearer KEY`."""

    body_bytes_max: int = 1 << 20
    instances_max: int = 1_000
    prediction_ttl_ms: int = 30 * 60_000
    api_keys: tuple[str, ...] = field(default=(), repr=False)


class Failed(Exception):
    """The answer to a request that cannot be served."""

    def __init__(self, status: int, reason: str, field_name: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.body = {"error": reason} if field_name is None else {"error": reason, "field": field_name}


def authorise(scope: Scope, api_keys: Iterable[str]) -> None:
    """Raise Failed unless the request has one of the keys; anything goes where there are none."""
    if not api_keys:
        return
    headers: dict[bytes, bytes] = dict(scope["headers"])
    given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    # Every key is compared, so that the time taken says nothing about which one was close.
    if not sum(hmac.compare_digest(given, key.encode()) for key in api_keys):
        raise Failed(401, "an API key is needed: Authorization: Bearer KEY")


class _ClientLeft(Exception):
    """There is nobody to answer."""


class PredictRoute:
    """POST /predict as an ASGI application: scores instances and logs what was answered. No state of its own."""

    def __init__(
        self,
        follower: ModelFollower,
        log: PredictionLog,
        metrics: Metrics,
        clock: Clock,
        settings: HttpSettings,
        arms: Mapping[str, ArmedModel],
        shadows: Shadows,
    ) -> None:
        self._follower = follower
        self._arms = arms
        self._shadows = shadows
        self._apprentices = Apprentices(follower, metrics)
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        shown: Sequence[Shown] = ()
        try:
            authorise(scope, self._settings.api_keys)
            status = 200
            answer, shown = self._predict(await self._body(receive))
        except Failed as failed:
            status, answer = failed.status, json.dumps(failed.body)
        except _ClientLeft:
            status, answer = _CLIENT_LEFT, ""
        body = answer.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.http_answered(PREDICT, str(status), time.perf_counter() - started)
        for each in shown:
            self._shadows.add(each)

    def _predict(self, body: bytes) -> tuple[str, Sequence[Shown]]:
        """Return the answer, and what shadows are to answer as well."""
        wanted = parse_body(body, self._settings)
        scorer = find_scorer(self._follower, wanted.model)
        try:
            rows = [read_row(scorer.schema, each.features, f"{each.path}features.") for each in wanted.instances]
            eligible = [read_actions(scorer.actions, each) for each in wanted.instances]
        except BadRequest as error:
            raise Failed(400, error.reason, error.field) from error
        now_ms = self._clock.now_ms()
        ids = [new_prediction_id(now_ms) for _ in rows]
        asked = Asked(wanted.instances, rows, eligible, ids, now_ms, self._settings.prediction_ttl_ms)
        arms = self._arms.get(wanted.model)
        try:
            predictions = predictions_of(scorer, asked) if arms is None else arms.answer(scorer, asked)
        except NoNumber as error:
            raise Failed(500, str(error)) from error
        except BadRequest as error:
            raise Failed(400, error.reason, error.field) from error
        self._log.add(predictions)
        self._metrics.serve_answered(wanted.model, len(predictions), fallback=FALLBACK in scorer.flags)
        answers = map(answer_json if arms is None else answer_json_with_arm, predictions)
        answer = next(answers) if wanted.single else f'{{"predictions":[{",".join(answers)}]}}'
        shadowed = (arms, self._apprentices.of(wanted.model))
        return answer, [Shown(each, scorer, asked, predictions) for each in shadowed if each and each.plan.shadows]

    async def _body(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._settings.body_bytes_max:
                raise Failed(413, f"the body is larger than {self._settings.body_bytes_max} bytes")
        return body


def parse_body(body: bytes, settings: HttpSettings) -> PredictRequest:
    """Return the request in a body; raises Failed."""
    try:
        return parse_request(json.loads(body), settings.instances_max)
    except (ValueError, RecursionError) as error:
        raise Failed(400, f"the body is not JSON: {error}", "body") from error
    except TooLarge as error:
        raise Failed(413, error.reason, error.field) from error
    except BadRequest as error:
        raise Failed(400, error.reason, error.field) from error


def find_scorer(follower: ModelFollower, model: str) -> Scorer:
    """Return what answers for a model; raises Failed, saying why nothing does."""
    scorer = follower.scorer(model)
    if scorer is not None:
        return scorer
    if follower.too_old(model):
        raise Failed(503, f"the newest version of model {model!r} is too old", "model")
    if model in follower.models:
        raise Failed(503, f"model {model!r} has no verified version yet", "model")
    known = ", ".join(follower.models) or "none"
    raise Failed(404, f"no model is called {model[:64]!r}; known: {known}", "model")
