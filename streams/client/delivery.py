"""Hands events to Kafka and keeps account of those that did not arrive."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Protocol

from rheostat.schemas.cloudevents import CloudEvent, write_headers
from rheostat.schemas.codec import BadRecord, encode_record
from rheostat.schemas.ids import IdTable
from rheostat.streams.client.event import RECORD_BYTES_MAX, Feedback
from rheostat.streams.client.stamps import Stamps
from rheostat.streams.engine.broker import DeliveryCallback, Producer

logger = logging.getLogger("rheostat.client")

FAILURES_KEPT_MAX = 1_000

OnFailure = Callable[[Feedback, str], None]
"""Told the event that the broker did not take, and why; called from the thread that sends or flushes."""


class Undelivered(Exception):
    """Not everything arrived. `failed` are events to send again (the last 1,000); `waiting` are still under way."""

    def __init__(self, failed: tuple[tuple[Feedback, str], ...], failed_count: int, waiting: int) -> None:
        last = f"; the last: {failed[-1][0].event_id}: {failed[-1][1]}" if failed else ""
        super().__init__(f"{failed_count} events were not delivered, {waiting} are still waiting{last}")
        self.failed = failed
        self.failed_count = failed_count
        self.waiting = waiting


class Outbox(Protocol):
    """Where a client puts its events."""

    def queue(self, event: Feedback) -> None:
        """Accept an event. Raises ValueError for one that cannot be written, Retryable when full."""
        ...

    def flush(self, timeout_ms: int) -> int:
        """Wait for delivery; return how many events are safe but not delivered yet. Raises Undelivered."""
        ...

    def close(self) -> int:
        """Release everything; return how many events stay for the next start. Idempotent."""
        ...


class Failures:
    """Events that were not delivered: all are counted, the last 1,000 kept, each told to `on_failure`. Thread-safe."""

    def __init__(self, on_failure: OnFailure | None = None) -> None:
        self._on_failure = on_failure
        self._lock = Lock()
        self._failed: deque[tuple[Feedback, str]] = deque(maxlen=FAILURES_KEPT_MAX)
        self._count = 0

    def add(self, event: Feedback, error: str) -> None:
        """Note that an event was not delivered. What `on_failure` raises is logged: it is not the sender's concern."""
        with self._lock:
            self._failed.append((event, error))
            self._count += 1
        if self._on_failure is not None:
            try:
                self._on_failure(event, error)
            except Exception:
                logger.exception("on_failure raised for event %s", event.event_id)

    def raise_any(self, waiting: int) -> None:
        """Raise Undelivered for what was noted since the last call, and for what is still waiting, if there is any."""
        with self._lock:
            failed, count = tuple(self._failed), self._count
            self._failed.clear()
            self._count = 0
        if count or waiting:
            raise Undelivered(failed, count, waiting)


class Delivery:
    """Queues events on a producer, in memory; failures are kept until `flush` raises them. Thread-safe.

    ids: of the schemas, where they are not those of the process. stamps: of the events; None: there are none.
    """

    def __init__(
        self,
        producer: Producer,
        on_failure: OnFailure | None = None,
        ids: IdTable | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        self._producer = producer
        self._ids = ids
        self._stamps = stamps
        self._failures = Failures(on_failure)

    def queue(self, event: Feedback) -> None:
        """Encode and queue an event. Raises ValueError for one that cannot be written, Retryable when full."""
        send(self._producer, event, self._report(event), self._ids, self._stamps)

    def flush(self, timeout_ms: int) -> int:
        """Wait for delivery. Raises Undelivered, once for each failure, and for what is still under way."""
        self._failures.raise_any(self._producer.flush(timeout_ms))
        return 0

    def close(self) -> int:
        """Release the connection; what is still queued gets a moment to leave. Idempotent."""
        self._producer.close()
        return 0

    def _report(self, event: Feedback) -> DeliveryCallback:
        def report(error: str | None) -> None:
            if error is not None:
                self._failures.add(event, error)

        return report


def send(
    producer: Producer,
    event: Feedback,
    on_delivery: DeliveryCallback,
    ids: IdTable | None = None,
    stamps: Stamps | None = None,
) -> None:
    """Give an event to a producer as its topic wants it. Raises ValueError as `encoded` does, Retryable when full."""
    value = encoded(event, ids)
    headers = write_headers(CloudEvent(event.event_id, event.source, event.topic, event.occurred_at))
    producer.send(
        event.topic,
        event.key,
        value,
        timestamp_ms=event.occurred_at,
        headers=[*headers, *stamps.headers()] if stamps else headers,
        on_delivery=on_delivery,
    )


def encoded(event: Feedback, ids: IdTable | None = None) -> bytes:
    """Return the message value of an event. Raises ValueError, naming the field, when it cannot be written."""
    try:
        value = encode_record(event.topic, event.record(), ids=ids)
    except BadRecord as error:
        raise ValueError(f"{error.field}: {error.reason}") from error
    if len(value) > RECORD_BYTES_MAX:
        raise ValueError(f"payload: the event has {len(value)} bytes, at most {RECORD_BYTES_MAX} are allowed")
    return value
