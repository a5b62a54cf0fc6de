"""Runs a server until it is told to end: follower, prediction log and HTTP in one process, ended in order."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.engine.broker import Broker
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower, SwapCallback
from rheostat.streams.serving.http import HttpSettings, build_app
from rheostat.streams.serving.prediction_log import PredictionLog


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server must be told. Port 0 picks a free one. `drain_s`: how long open requests may take after SIGTERM."""

    follower: FollowerSettings
    http: HttpSettings = field(default_factory=HttpSettings)
    host: str = "127.0.0.1"
    port: int = 8080
    prediction_queue_max: int = 100_000
    drain_s: int = 5


def serve(
    broker: Broker,
    settings: ServerSettings,
    keys: KeyRing,
    clock: Clock | None = None,
    on_swap: Sequence[SwapCallback] = (),
) -> None:
    """Serve until SIGTERM or SIGINT: then refuse new connections, finish open requests, send what is logged.

    Call it from the main thread.
    """
    previous = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(_uvicorn_config(broker, settings, keys, clock or WallClock(), on_swap)).run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ended(number: int, frame: object) -> None:
    """Take the signal that the HTTP server raises again when it has ended: by then everything is closed."""


def _uvicorn_config(
    broker: Broker, settings: ServerSettings, keys: KeyRing, clock: Clock, on_swap: Sequence[SwapCallback]
) -> uvicorn.Config:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    follower = ModelFollower(broker, settings.follower, keys, clock, metrics, on_swap=on_swap)
    log = PredictionLog(broker.producer(), metrics, settings.follower.member, settings.prediction_queue_max)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        follower.start()
        log.start()
        try:
            yield
        finally:
            log.stop()
            follower.stop()

    return uvicorn.Config(
        build_app(follower, log, metrics, registry, clock, settings.http, lifespan),
        host=settings.host,
        port=settings.port,
        lifespan="on",
        access_log=False,
        timeout_graceful_shutdown=settings.drain_s,
        server_header=False,
    )
