"""Runs a gateway until it is told to end."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.identity import EventIds
from rheostat.streams.client.spool import SpoolSettings
from rheostat.streams.client.stamps import EVERY, Stamps
from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.engine.broker import Broker
from rheostat.streams.gateway.courier import AcknowledgedCourier, Courier, SpoolCourier
from rheostat.streams.gateway.http import HttpSettings, build_app
from rheostat.streams.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway must be told. Port 0 picks a free one. `drain_s`: how long open requests may take after SIGTERM.

    spool: where set, a request is accepted when its events are in the spool; else when the broker has acknowledged
    them, for which it has `acknowledge_timeout_ms`, and `in_flight_max` events may wait for it at a time.
    stamp_every: which events are stamped for measuring freshness, every so-many-th, 0 none.
    """

    http: HttpSettings = field(default_factory=HttpSettings)
    host: str = "127.0.0.1"
    port: int = 8090
    in_flight_max: int = 10_000
    acknowledge_timeout_ms: int = 5_000
    spool: SpoolSettings | None = None
    identity_secret: bytes | None = field(default=None, repr=False)
    drain_s: int = 5
    stamp_every: int = EVERY


def run_gateway(broker: Broker, settings: GatewaySettings, clock: Clock | None = None) -> None:
    """Serve until SIGTERM or SIGINT: then refuse new connections, finish open requests, close what they use.

    Call it from the main thread. Without a spool it raises ConfigError when no broker answers at the start.
    """
    server = uvicorn.Server(_uvicorn_config(broker, settings, clock or WallClock()))
    previous = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ended(number: int, frame: object) -> None:
    """Take the signal that the HTTP server raises again when it has ended: by then everything is closed."""


def _uvicorn_config(broker: Broker, settings: GatewaySettings, clock: Clock) -> uvicorn.Config:
    registry = CollectorRegistry()
    courier = _courier(broker, settings)
    ids = EventIds(settings.identity_secret)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            courier.close()

    app = build_app(courier, ids, Metrics(registry), registry, clock, settings.http, lifespan)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        access_log=False,
        timeout_graceful_shutdown=settings.drain_s,
        server_header=False,
    )


def _courier(broker: Broker, settings: GatewaySettings) -> Courier:
    stamps = Stamps(settings.stamp_every)
    if settings.spool is not None:
        return SpoolCourier(SpooledDelivery(settings.spool, broker.producer, stamps=stamps))
    return AcknowledgedCourier(broker.producer(), settings.in_flight_max, settings.acknowledge_timeout_ms, stamps)
