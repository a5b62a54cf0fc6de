"""The gateway's HTTP side: take feedback, say how it is, be scraped."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from rheostat.streams.client.identity import EventIds
from rheostat.streams.clock import Clock
from rheostat.streams.gateway.courier import Courier, Unavailable
from rheostat.streams.gateway.requests import BadRequest, FeedbackRequest, TooLarge, parse_request
from rheostat.streams.metrics import Metrics

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits. With `api_keys`, /feedback wants `Authorization: Bearer KEY`; the other routes never do."""

    bytes_max: int = 1 << 20
    batch_max: int = 1_000
    retry_after_s: int = 5
    api_keys: tuple[str, ...] = field(default=(), repr=False)


class _Failed(Exception):
    """The answer to a request that cannot be served."""

    def __init__(self, status: int, reason: str, **more: str | int | None) -> None:
        super().__init__(reason)
        self.status = status
        self.body = {"error": reason, **{name: value for name, value in more.items() if value is not None}}


def build_app(
    courier: Courier,
    ids: EventIds,
    metrics: Metrics,
    registry: CollectorRegistry,
    clock: Clock,
    settings: HttpSettings | None = None,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Return the application: POST /feedback, GET /healthz, /metrics."""
    gateway = _Gateway(courier, ids, metrics, registry, clock, settings or HttpSettings())
    routes = [
        Route("/feedback", partial(gateway.answer, gateway.feedback), methods=["POST"]),
        Route("/healthz", partial(gateway.answer, gateway.healthz), methods=["GET"]),
        Route("/metrics", partial(gateway.answer, gateway.scrape), methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


@dataclass(frozen=True, slots=True)
class _Gateway:
    courier: Courier
    ids: EventIds
    metrics: Metrics
    registry: CollectorRegistry
    clock: Clock
    settings: HttpSettings

    async def answer(self, handler: Handler, request: Request) -> Response:
        """Run a handler, turn failures into answers, and count."""
        response: Response
        try:
            response = await handler(request)
        except _Failed as failed:
            headers = {"retry-after": str(self.settings.retry_after_s)} if failed.status == 503 else None
            response = JSONResponse(failed.body, failed.status, headers)
        except ClientDisconnect:
            response = Response(status_code=400)
        self.metrics.gateway_answered(request.url.path, str(response.status_code))
        return response

    async def feedback(self, request: Request) -> Response:
        """Answer 202 with the event ids when all events are safe; else nothing of the request may be counted on."""
        self._authorise(request)
        wanted = self._parse(await self._body(request), request.headers.get("idempotency-key"))
        try:
            await self.courier.accept(wanted.events)
        except Unavailable as error:
            raise _Failed(503, f"{error}; send the request again later") from error
        self.metrics.gateway_events_total.inc(len(wanted.events))
        event_ids = [event.event_id for event in wanted.events]
        return JSONResponse({"event_id": event_ids[0]} if wanted.single else {"event_ids": event_ids}, 202)

    async def healthz(self, request: Request) -> Response:
        """Answer 200, or 503 with the reason while events are not getting to safety."""
        failure = self.courier.failure()
        if failure is not None:
            raise _Failed(503, failure, waiting=self.courier.waiting())
        return JSONResponse({"status": "ok", "waiting": self.courier.waiting()})

    async def scrape(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        self.metrics.gateway_waiting_events.set(self.courier.waiting())
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _authorise(self, request: Request) -> None:
        if not self.settings.api_keys:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        # Every key is compared, so that the time taken says nothing about which one was close.
        if not sum(hmac.compare_digest(given, key.encode()) for key in self.settings.api_keys):
            raise _Failed(401, "an API key is needed: Authorization: Bearer KEY")

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self.settings.bytes_max:
                raise _Failed(413, f"the body is larger than {self.settings.bytes_max} bytes", field="body")
        return bytes(body)

    def _parse(self, body: bytes, idempotency_key: str | None) -> FeedbackRequest:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Failed(400, f"the body is not JSON: {error}", field="body") from error
        try:
            return parse_request(content, self.settings.batch_max, self.ids, self.clock.now_ms(), idempotency_key)
        except TooLarge as error:
            raise _Failed(413, error.reason, field=error.field) from error
        except BadRequest as error:
            raise _Failed(400, error.reason, field=error.field, index=error.index) from error
