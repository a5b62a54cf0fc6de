"""Runs a server until it is told to end: follower, prediction log and HTTP in one process, ended in order."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.collector import collect_rarely
from rheostat.streams.engine.broker import Broker
from rheostat.streams.lean_imports import convert_without_pandas
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.serving.arms import ArmPlan
from rheostat.streams.serving.draining import Drain, DrainingServer
from rheostat.streams.serving.explain import Explainer
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower, SwapCallback
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.predict import HttpSettings
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.shadows import QUEUE_MAX, Shadows

_TURN_S = 0.0005
"""How long a thread that works may keep one waiting that could answer; Python's 5 ms are half of a slow answer."""

_KEEP_ALIVE_S = 75
"""Longer than balancers keep a connection that is silent, commonly 60 s: who closes first must not be the server."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server must be told. Port 0 picks a free one.

    After SIGTERM it answers for `drain_ms` more, as not ready; then open requests may take `open_requests_s`.
    """

    follower: FollowerSettings
    http: HttpSettings = field(default_factory=HttpSettings)
    host: str = "127.0.0.1"
    port: int = 8080
    prediction_queue_max: int = 100_000
    drain_ms: int = 1_000
    open_requests_s: int = 5
    arms: Mapping[str, ArmPlan] = field(default_factory=dict)
    shadow_queue_max: int = QUEUE_MAX
    explainer: Explainer = field(default_factory=Explainer)


def serve(
    broker: Broker,
    settings: ServerSettings,
    keys: KeyRing,
    clock: Clock | None = None,
    on_swap: Sequence[SwapCallback] = (),
) -> None:
    """Serve until SIGTERM or SIGINT: then say so, refuse new connections, finish open requests, send what is logged.

    Call it from the main thread.
    """
    convert_without_pandas()
    sys.setswitchinterval(_TURN_S)
    previous = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        drain = Drain()
        config = _uvicorn_config(broker, settings, keys, clock or WallClock(), on_swap, drain)
        DrainingServer(config, drain, settings.drain_ms).run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ended(number: int, frame: object) -> None:
    """Take the signal that the HTTP server raises again when it has ended: by then everything is closed."""


def _uvicorn_config(
    broker: Broker,
    settings: ServerSettings,
    keys: KeyRing,
    clock: Clock,
    on_swap: Sequence[SwapCallback],
    drain: Drain,
) -> uvicorn.Config:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    follower = ModelFollower(broker, settings.follower, keys, clock, metrics, on_swap=on_swap)
    log = PredictionLog(broker.producer(), metrics, settings.follower.member, settings.prediction_queue_max)
    shadows = Shadows(log, clock, settings.shadow_queue_max)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        follower.start()
        log.start()
        shadows.start()
        collect_rarely()
        try:
            yield
        finally:
            shadows.stop()
            log.stop()
            follower.stop()

    return uvicorn.Config(
        build_app(
            follower,
            log,
            metrics,
            registry,
            clock,
            settings.http,
            lifespan,
            drain,
            settings.arms,
            shadows,
            settings.explainer,
            broker.log(),
        ),
        host=settings.host,
        port=settings.port,
        lifespan="on",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.open_requests_s,
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
