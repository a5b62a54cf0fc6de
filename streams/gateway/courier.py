"""Gets events to safety before a request is answered: acknowledged by the broker, or in a spool on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Protocol

from starlette.concurrency import run_in_threadpool

from rheostat.streams.client.delivery import send
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.stamps import Stamps
from rheostat.streams.engine.broker import Producer
from rheostat.streams.errors import BrokerError

_POLL_MS = 50
_FAILURE_COUNTS_S = 5.0


class Unavailable(Exception):
    """The events, or some of them, are not safe: the request must be made again later. Ids make that harmless."""


class Courier(Protocol):
    """One way to get events to safety."""

    async def accept(self, events: Sequence[Feedback]) -> None:
        """Return when all events are safe. Raises Unavailable."""
        ...

    def failure(self) -> str | None:
        """Return why events have just not been safe; None when all is well, or nothing was tried for a while."""
        ...

    def waiting(self) -> int:
        """Return how many events are accepted or under way, but not acknowledged by the broker."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent."""
        ...


class AcknowledgedCourier:
    """Safe means: the broker, with all replicas in sync, has it. A thread takes the broker's answers.

    in_flight_max: events that wait for an answer; more are turned away at once, so that memory stays bounded and
    requests do not pile up while Kafka is away.
    """

    def __init__(self, producer: Producer, in_flight_max: int, timeout_ms: int, stamps: Stamps | None = None) -> None:
        self._producer = producer
        self._in_flight_max = in_flight_max
        self._timeout_ms = timeout_ms
        self._stamps = stamps
        self._lock = Lock()
        self._in_flight = 0
        self._failed: tuple[float, str] | None = None
        self._sent, self._closed = Event(), Event()
        self._thread = Thread(target=self._take_answers, name="rheostat-gateway", daemon=True)
        self._thread.start()

    async def accept(self, events: Sequence[Feedback]) -> None:
        """Send the events and wait for the broker's answer to each. Raises Unavailable."""
        if self.waiting() + len(events) > self._in_flight_max:
            raise self._unavailable(
                f"{self.waiting()} events wait for Kafka already, at most {self._in_flight_max} may"
            )
        answers = _Answers(len(events))
        try:
            for event in events:
                self._send(event, answers)
        except BrokerError as error:
            raise self._unavailable(str(error)) from error
        try:
            errors = await asyncio.wait_for(answers.all_in, self._timeout_ms / 1000)
        except TimeoutError:
            raise self._unavailable(f"Kafka did not answer within {self._timeout_ms} ms") from None
        if errors:
            raise self._unavailable(f"Kafka refused {len(errors)} of {len(events)} events: {errors[0]}")
        self._failed = None

    def failure(self) -> str | None:
        """Return the last failure, if it was a moment ago: who is asked to stay away could never do better."""
        failed = self._failed
        return failed[1] if failed is not None and time.monotonic() - failed[0] < _FAILURE_COUNTS_S else None

    def waiting(self) -> int:
        """Return how many events are under way."""
        with self._lock:
            return self._in_flight

    def close(self) -> None:
        """Give what is under way a moment, and release the producer. Idempotent."""
        self._closed.set()
        self._sent.set()
        self._thread.join()
        self._producer.close()

    def _send(self, event: Feedback, answers: _Answers) -> None:
        def report(error: str | None) -> None:
            with self._lock:
                self._in_flight -= 1
            answers.report(error)

        with self._lock:
            self._in_flight += 1
        try:
            send(self._producer, event, report, stamps=self._stamps)
        except BaseException:
            with self._lock:
                self._in_flight -= 1
            raise
        self._sent.set()

    def _take_answers(self) -> None:
        while not self._closed.is_set():
            self._sent.wait()
            self._sent.clear()
            while self.waiting() and not self._closed.is_set():
                self._producer.flush(_POLL_MS)

    def _unavailable(self, why: str) -> Unavailable:
        self._failed = (time.monotonic(), why)
        return Unavailable(why)


class SpoolCourier:
    """Safe means: in the spool on this machine's disk, from where it is sent when Kafka is there."""

    def __init__(self, delivery: SpooledDelivery) -> None:
        self._delivery = delivery
        self._failed: str | None = None

    async def accept(self, events: Sequence[Feedback]) -> None:
        """Spool the events. Raises Unavailable when the spool is full."""
        try:
            await run_in_threadpool(self._queue, events)
        except BrokerError as error:
            self._failed = str(error)
            raise Unavailable(self._failed) from error
        self._failed = None

    def failure(self) -> str | None:
        """Return why the last events were not spooled; None if they were, or all were sent since."""
        return self._failed if self.waiting() else None

    def waiting(self) -> int:
        """Return how many events lie in the spool."""
        return self._delivery.stats().waiting

    def close(self) -> None:
        """Stop sending; what is spooled is sent after the next start. Idempotent."""
        self._delivery.close()

    def _queue(self, events: Sequence[Feedback]) -> None:
        for event in events:
            self._delivery.queue(event)


class _Answers:
    """Collects the broker's answers to the events of one request; `all_in` then holds the errors among them."""

    def __init__(self, expected: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.all_in: asyncio.Future[list[str]] = self._loop.create_future()
        self._expected = expected
        self._errors: list[str] = []

    def report(self, error: str | None) -> None:
        """Note an answer, from any thread; one that comes after the request was given up is passed over."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._note, error)

    def _note(self, error: str | None) -> None:
        self._expected -= 1
        if error is not None:
            self._errors.append(error)
        if self._expected == 0 and not self.all_in.done():
            self.all_in.set_result(self._errors)
