"""What the client of the serving benchmark counts as failed."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import Awaitable, Callable

import pytest

from rheostat.streams.bench.http_load import Outcome, Phase, _Client, request_bytes

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b'{"prediction_id":"p","model":"m","version":"1.2","score":0.5}'
REQUEST = request_bytes("server", "POST", "/predict", b"{}")


def reply(status: str, body: bytes = OK, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def outcome_of(predict: Answer, healthy: Callable[[], bool] = lambda: True) -> Outcome:
    """Let a client send for a moment to a server that answers predictions in this way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"/healthz" in head:
                    writer.write(reply("200 OK" if healthy() else "503 Service Unavailable"))
                    continue
                await predict(await reader.readexactly(2), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> Outcome:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here, there = multiprocessing.Pipe()
        client = _Client("127.0.0.1", port, [REQUEST], 3, there.send)
        found = await client.run([Phase("full", 0.2), Phase("paced", 0.2, 200), Phase("end", 0.4, 200)])
        assert [here.recv() for _ in range(3)] == ["full", "paced", "end"]
        server.close()
        return found

    return asyncio.run(run())


async def fine(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(reply("200 OK"))


async def in_pieces(_: bytes, writer: asyncio.StreamWriter) -> None:
    answer = reply("200 OK")
    for at in range(0, len(answer), 20):
        writer.write(answer[at : at + 20])
        await writer.drain()


async def not_found(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(reply("404 Not Found"))


async def hangs_up(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(reply("200 OK")[:30])
    writer.close()


async def says_goodbye(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(reply("200 OK", OK, "Connection: close"))
    writer.close()


def test_answers_are_counted_whole_or_in_pieces() -> None:
    for answer in (fine, in_pieces):
        found = outcome_of(answer)
        assert not found.failures
        assert found.answered >= sum(len(each.latencies_ms) for each in found.phases) > 0
        assert found.versions == {b'"model":"m","version":"1.2'}


def test_a_pace_is_kept() -> None:
    _, paced, _ = outcome_of(fine).phases
    assert len(paced.latencies_ms) == pytest.approx(200 * paced.seconds, abs=5)


def test_a_status_that_is_not_2xx_has_failed() -> None:
    found = outcome_of(not_found)
    assert found.answered == 0
    assert found.failures["status 404"] > 0


def test_half_an_answer_has_failed() -> None:
    found = outcome_of(hangs_up)
    assert found.answered == 0
    assert found.failures["closed without an answer"] > 0


def test_a_connection_that_ends_with_its_answer_has_not_failed_and_another_is_opened() -> None:
    found = outcome_of(says_goodbye)
    assert not found.failures
    assert found.answered > 10


def test_a_server_that_is_not_ready_gets_no_new_connections() -> None:
    found = outcome_of(says_goodbye, healthy=lambda: False)
    assert found.not_ready_first
    assert not found.failures
    assert found.phases[-1].seconds < 0.4


def test_a_server_that_is_gone_without_a_word_has_failed() -> None:
    async def run() -> Outcome:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _, there = multiprocessing.Pipe()
        return await _Client("127.0.0.1", port, [REQUEST], 3, there.send).run([Phase("end", 0.3)])

    found = asyncio.run(run())
    assert found.failures["not connected: ConnectionRefusedError"] == 3
    assert not found.not_ready_first
