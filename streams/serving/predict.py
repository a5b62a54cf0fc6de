"""The route of predictions, from the bytes of a request to those of its answer: plain ASGI, as it is called most."""

from __future__ import annotations

import hmac
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from rheostat.streams.clock import Clock
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.answers import Answer, Scorer
from rheostat.streams.serving.fallback import FALLBACK
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.predictions import Prediction, new_prediction_id
from rheostat.streams.serving.requests import (
    BadRequest,
    Instance,
    PredictRequest,
    Row,
    TooLarge,
    parse_request,
    read_actions,
    read_row,
)

PREDICT = "/predict"
_CLIENT_LEFT = 400


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits. With `api_keys`, /predict and /models want `Authorization: Bearer KEY`; the other routes never do."""

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
        self, follower: ModelFollower, log: PredictionLog, metrics: Metrics, clock: Clock, settings: HttpSettings
    ) -> None:
        self._follower = follower
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            authorise(scope, self._settings.api_keys)
            status, answer = 200, self._predict(await self._body(receive))
        except Failed as failed:
            status, answer = failed.status, json.dumps(failed.body)
        except _ClientLeft:
            status, answer = _CLIENT_LEFT, ""
        body = answer.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.http_answered(PREDICT, str(status), time.perf_counter() - started)

    def _predict(self, body: bytes) -> str:
        wanted = self._parse(body)
        scorer = self._scorer(wanted.model)
        try:
            rows = [read_row(scorer.schema, each.features, f"{each.path}features.") for each in wanted.instances]
            eligible = [read_actions(scorer.actions, each) for each in wanted.instances]
        except BadRequest as error:
            raise Failed(400, error.reason, error.field) from error
        predictions = self._score(scorer, wanted, rows, eligible)
        self._log.add(predictions)
        self._metrics.serve_answered(wanted.model, len(predictions), fallback=FALLBACK in scorer.flags)
        answers = map(_answer_for, predictions)
        return next(answers) if wanted.single else f'{{"predictions":[{",".join(answers)}]}}'

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

    def _parse(self, body: bytes) -> PredictRequest:
        try:
            return parse_request(json.loads(body), self._settings.instances_max)
        except (ValueError, RecursionError) as error:
            raise Failed(400, f"the body is not JSON: {error}", "body") from error
        except TooLarge as error:
            raise Failed(413, error.reason, error.field) from error
        except BadRequest as error:
            raise Failed(400, error.reason, error.field) from error

    def _scorer(self, model: str) -> Scorer:
        scorer = self._follower.scorer(model)
        if scorer is not None:
            return scorer
        if self._follower.too_old(model):
            raise Failed(503, f"the newest version of model {model!r} is too old", "model")
        if model in self._follower.models:
            raise Failed(503, f"model {model!r} has no verified version yet", "model")
        known = ", ".join(self._follower.models) or "none"
        raise Failed(404, f"no model is called {model[:64]!r}; known: {known}", "model")

    def _score(
        self, scorer: Scorer, wanted: PredictRequest, rows: list[Row], eligible: list[list[bool]]
    ) -> list[Prediction]:
        facts, now_ms = scorer.version.manifest.facts, self._clock.now_ms()
        ids = [new_prediction_id(now_ms) for _ in rows]
        answered = scorer.answer(rows, ids, eligible)
        if not all(math.isfinite(each.score) for each in answered):
            raise Failed(500, f"model {facts.model!r} {facts.version} gives no number for these features")

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
                expires_at_ms=now_ms + self._settings.prediction_ttl_ms,
                target_id=instance.target_id,
                subject_id=instance.subject,
                segment=instance.segment,
                arm=instance.arm,
                action=given.action,
                propensity=given.propensity,
                flags=scorer.flags,
            )

        return list(map(prediction, ids, wanted.instances, rows, answered))


def _answer_for(prediction: Prediction) -> str:
    """Return what is answered, in JSON. Written by hand, as all of it but an action is known to need no escapes."""
    chosen = ""
    if prediction.action is not None:
        chosen = f'"action":{json.dumps(prediction.action)},"propensity":{prediction.propensity!r},'
    if FALLBACK in prediction.flags:
        chosen += '"fallback":true,'
    return (
        f'{{"prediction_id":"{prediction.prediction_id}","model":"{prediction.model}","version":"{prediction.version}",'
        f'"score":{prediction.score!r},{chosen}"expires_at":{prediction.expires_at_ms}}}'
    )
