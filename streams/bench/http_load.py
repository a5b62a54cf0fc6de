"""A client under which a server is measured: connections that stay open, one request at a time on each.

It is lean, as it shares a small machine with what it measures: requests are made beforehand and answers are looked at
as bytes. A request that was sent and got no complete answer of status 2xx has failed, and so has a connection that was
refused while the server said that it is ready. As a load balancer does, the client asks /healthz four times a second;
once that is not 200 it opens no more connections, and uses those that are open until the server closes them.
"""

from __future__ import annotations

import asyncio
import math
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import NamedTuple, cast

import numpy as np
import uvloop

HEALTH_EVERY_S = 0.25
TICK_S = 0.001
_MODEL, _VERSION = b'"model":"', b'"version":"'


class Phase(NamedTuple):
    """So many seconds of requests: `rate` a second, or as many as are answered where it is None."""

    name: str
    seconds: float
    rate: int | None = None


@dataclass(slots=True)
class Measured:
    """What happened in a phase. `latencies_ms`: from when a request was due, float32. `cpu_s`: of the client."""

    name: str
    seconds: float
    latencies_ms: np.ndarray[tuple[int], np.dtype[np.float32]]
    cpu_s: float


@dataclass(slots=True)
class Outcome:
    """Everything a client can tell. `failures`: reason and how often. `versions`: all that answered, of each model."""

    phases: list[Measured] = field(default_factory=list)
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    versions: set[bytes] = field(default_factory=set)
    not_ready_first: bool = False


def request_bytes(host: str, method: str, path: str, body: bytes = b"") -> bytes:
    """Return a request of HTTP/1.1 on a connection that stays open."""
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def run_client(
    pipe: Connection, host: str, port: int, requests: Sequence[bytes], connections: int, phases: Sequence[Phase]
) -> None:
    """Send requests in turn, through all phases; the last one lasts until the server is gone.

    To be run in a process of its own. Each phase's name goes through the pipe when it begins, the outcome at the end.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pipe.send(runner.run(_Client(host, port, requests, connections, pipe.send).run(phases)))


class _Client:
    def __init__(
        self, host: str, port: int, requests: Sequence[bytes], connections: int, announce: Callable[[str], None]
    ) -> None:
        self.outcome = Outcome()
        self.ready = True
        self._address = host, port
        self._health = request_bytes(host, "GET", "/healthz")
        self._requests = requests
        self._connections = connections
        self._announce = announce
        self._next = 0
        self._rate: int | None = None
        self._running = True
        self._idle: deque[_Line] = deque()
        self._due: deque[float] = deque()
        self._open: set[_Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._latencies: list[float] = []

    async def run(self, phases: Sequence[Phase]) -> Outcome:
        health = asyncio.create_task(self._watch_health())
        await asyncio.gather(*(self._connect() for _ in range(self._connections)))
        for phase in phases[:-1]:
            await self._measure(phase)
        await self._measure(phases[-1], self._gone)
        self._running = False
        health.cancel()
        await asyncio.gather(health, *self._opening, return_exceptions=True)
        for line in list(self._open):
            await line.close()
        return self.outcome

    async def _measure(self, phase: Phase, over: Callable[[], bool] = lambda: False) -> None:
        self._announce(phase.name)
        self._latencies = []
        cpu, began = _cpu_s(), time.perf_counter()
        end = began + phase.seconds
        self._rate, sent = phase.rate, 0
        if phase.rate is None:
            free, self._idle = self._idle, deque()
            for line in free:
                self.use(line)
        while (now := time.perf_counter()) < end and not over():
            if phase.rate is not None:
                # Those between two ticks are due when they would have been sent, one after the other.
                wanted = math.floor((now - began) * phase.rate)
                self._due.extend(began + number / phase.rate for number in range(sent, wanted))
                sent = wanted
                while self._due and self._idle:
                    self._send(self._idle.popleft(), self._due.popleft())
            await asyncio.sleep(TICK_S if phase.rate is not None else 0.05)
        seconds = time.perf_counter() - began
        self.outcome.phases.append(Measured(phase.name, seconds, np.array(self._latencies, np.float32), _cpu_s() - cpu))

    def use(self, line: _Line) -> None:
        """Send what is due on a connection that is free, or keep it until something is."""
        if not self._running:
            return
        if self._rate is None:
            self._send(line, time.perf_counter())
        elif self._due:
            self._send(line, self._due.popleft())
        else:
            self._idle.append(line)

    def answered(self, line: _Line, status: bytes, body: bytes) -> None:
        """Take the answer to what was sent last on a connection."""
        self._latencies.append((time.perf_counter() - line.due) * 1e3)
        if status[:1] != b"2":
            self.outcome.failures[f"status {status.decode()}"] += 1
            return
        self.outcome.answered += 1
        end = body.index(b'"', body.index(_VERSION) + len(_VERSION))
        self.outcome.versions.add(body[body.index(_MODEL) : end])

    def closed(self, line: _Line) -> None:
        """Note that a connection is gone, and open another while the server is ready."""
        self._open.discard(line)
        if line in self._idle:
            self._idle.remove(line)
        if line.busy:
            self.outcome.failures["closed without an answer"] += 1
        if self.ready and self._running:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        try:
            _, line = await asyncio.get_running_loop().create_connection(lambda: _Line(self), *self._address)
        except OSError as error:
            if self.ready:
                self.outcome.failures[f"not connected: {type(error).__name__}"] += 1
            return
        self._open.add(line)
        self.use(line)

    def _send(self, line: _Line, due: float) -> None:
        line.send(self._requests[self._next], due)
        self._next = (self._next + 1) % len(self._requests)

    def _gone(self) -> bool:
        return not (self.ready or self._open or self._opening)

    async def _watch_health(self) -> None:
        while self.ready:
            await asyncio.sleep(HEALTH_EVERY_S)
            try:
                reader, writer = await asyncio.open_connection(*self._address)
                writer.write(self._health)
                self.ready = b" 200 " in await reader.readline()
                self.outcome.not_ready_first = not self.ready
                writer.close()
                await writer.wait_closed()
            except OSError:
                # It never said that it is not ready: what fails from now on has failed, and is counted.
                self.ready = False


class _Line(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, client: _Client) -> None:
        self.due = 0.0
        self.busy = False
        self._client = client
        self._lost = asyncio.Event()
        self._received = b""
        self._expected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def send(self, request: bytes, due: float) -> None:
        self.due, self.busy = due, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not self._expected:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            length = self._received.lower().index(b"content-length: ") + len(b"content-length: ")
            self._expected = head + 4 + int(self._received[length : self._received.index(b"\r", length)])
        if len(self._received) < self._expected:
            return
        answer, self._received, self._expected, self.busy = self._received, b"", 0, False
        head = answer.index(b"\r\n\r\n")
        self._client.answered(self, answer[9:12], answer[head:])
        if b"connection: close" not in answer[:head].lower():
            self._client.use(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.closed(self)
        self._lost.set()

    async def close(self) -> None:
        """Close the connection; what is under way on it does not count any more."""
        self.busy = False
        self._transport.close()
        await self._lost.wait()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
