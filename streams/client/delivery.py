"""Hands events to Kafka and keeps account of those that did not arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from rheostat.schemas.cloudevents import CloudEvent, write_headers
from rheostat.schemas.codec import BadRecord, encode_record
from rheostat.streams.client.event import RECORD_BYTES_MAX, Feedback
from rheostat.streams.engine.broker import DeliveryCallback, Producer

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


class Delivery:
    """Queues events on a producer; failures are kept until `flush` raises them. Thread-safe."""

    def __init__(self, producer: Producer, on_failure: OnFailure | None = None) -> None:
        self._producer = producer
        self._on_failure = on_failure
        self._lock = Lock()
        self._failed: deque[tuple[Feedback, str]] = deque(maxlen=FAILURES_KEPT_MAX)
        self._failed_count = 0

    def queue(self, event: Feedback) -> None:
        """Encode and queue an event. Raises ValueError for one that cannot be written, Retryable when full."""
        value = _encoded(event)
        self._producer.send(
            event.topic,
            event.key,
            value,
            timestamp_ms=event.occurred_at,
            headers=write_headers(CloudEvent(event.event_id, event.source, event.topic, event.occurred_at)),
            on_delivery=self._report(event),
        )

    def flush(self, timeout_ms: int) -> None:
        """Wait for delivery. Raises Undelivered, once for each failure, and for what is still under way."""
        waiting = self._producer.flush(timeout_ms)
        with self._lock:
            failed, count = tuple(self._failed), self._failed_count
            self._failed.clear()
            self._failed_count = 0
        if count or waiting:
            raise Undelivered(failed, count, waiting)

    def close(self) -> None:
        """Release the connection; what is still queued gets a moment to leave. Idempotent."""
        self._producer.close()

    def _report(self, event: Feedback) -> DeliveryCallback:
        def report(error: str | None) -> None:
            if error is None:
                return
            with self._lock:
                self._failed.append((event, error))
                self._failed_count += 1
            if self._on_failure is not None:
                self._on_failure(event, error)

        return report


def _encoded(event: Feedback) -> bytes:
    try:
        value = encode_record(event.topic, event.record())
    except BadRecord as error:
        raise ValueError(f"{error.field}: {error.reason}") from error
    if len(value) > RECORD_BYTES_MAX:
        raise ValueError(f"payload: the event has {len(value)} bytes, at most {RECORD_BYTES_MAX} are allowed")
    return value
