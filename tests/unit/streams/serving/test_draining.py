"""A server that is told to end waits until those who balance load know, unless it is told again."""

from __future__ import annotations

import asyncio
import signal

import pytest
import uvicorn

from rheostat.streams.serving.draining import Drain, DrainingServer


def a_server(drain_ms: int) -> tuple[Drain, DrainingServer]:
    drain = Drain()
    return drain, DrainingServer(uvicorn.Config("nowhere:app"), drain, drain_ms)


@pytest.mark.parametrize(("drain_ms", "ended"), [(0, True), (3_600_000, False)])
def test_it_ends_when_the_time_is_over(drain_ms: int, ended: bool) -> None:
    drain, server = a_server(drain_ms)
    assert asyncio.run(server.on_tick(1)) is False
    server.handle_exit(signal.SIGTERM, None)
    assert drain.begun
    assert asyncio.run(server.on_tick(2)) is ended


def test_it_ends_at_once_when_it_is_told_twice() -> None:
    _, server = a_server(3_600_000)
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert asyncio.run(server.on_tick(1)) is True
