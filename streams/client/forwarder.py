"""Sends what lies in a spool to Kafka, in order, for as long as it takes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Thread

from rheostat.schemas.ids import IdTable
from rheostat.streams.client.delivery import Failures, OnFailure, encoded, send
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.spool import Entry, Spool, SpoolSettings, SpoolStats
from rheostat.streams.client.stamps import Stamps
from rheostat.streams.engine.broker import Producer, Refused
from rheostat.streams.errors import Retryable, RheostatError

logger = logging.getLogger("rheostat.client")

BATCH_RECORDS_MAX = 1_000
_POLL_S = 0.2
_GATHER_S = 0.005
_RETRY_S = 1.0
_LEAVE_S = 1.0
_UNDER_WAY = "still under way"
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

Connect = Callable[[], Producer]
"""Opens a producer; raises ConfigError or BrokerError while Kafka is away, and is then called again."""


class SpooledDelivery:
    """Puts every event into a spool on disk, from where a thread of its own sends it. Thread-safe.

    An event leaves the spool when the broker has it, or refuses it for good (`on_failure`, and raised by `flush`).
    Everything else is tried again without end: no broker, no topic, no permission. Records of a partition stay in
    order; after an error some are sent twice, under the same event ids.

    ids: of the schemas, where they are not those of the process. stamps: of the events as they are sent, so that the
    time in the spool is none of a trail's; None: there are none.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        connect: Connect,
        on_failure: OnFailure | None = None,
        ids: IdTable | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        self._spool = Spool(settings)
        self._failures = Failures(on_failure)
        self._forwarder = Forwarder(self._spool, connect, self._failures, settings.sync_ms, ids, stamps)
        self._forwarder.start()

    def queue(self, event: Feedback) -> None:
        """Spool an event. Raises ValueError for one that cannot be written, SpoolFull when there is no room."""
        encoded(event)
        self._spool.append(_to_payload(event))

    def flush(self, timeout_ms: int) -> int:
        """Wait until the spool is empty; return how many are left. Raises Undelivered for those the broker refused."""
        waiting = self._spool.wait_until_empty(timeout_ms / 1000)
        self._failures.raise_any(0)
        return waiting

    def close(self) -> int:
        """Stop sending, after a moment for the last; return how many stay for the next start. Idempotent."""
        if self._forwarder.is_alive():
            self._spool.wait_until_empty(_LEAVE_S)
        self._forwarder.stop()
        return self._spool.close()

    def stats(self) -> SpoolStats:
        """Return what lies in the spool, and what was dropped."""
        return self._spool.stats()


class Forwarder(Thread):
    """Takes from the spool, sends, waits for the broker's answers, acknowledges, and so on until stopped."""

    def __init__(
        self,
        spool: Spool,
        connect: Connect,
        failures: Failures,
        sync_ms: int,
        ids: IdTable | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        super().__init__(name="rheostat-feedback", daemon=True)
        self._spool = spool
        self._connect = connect
        self._failures = failures
        self._sync_s = sync_ms / 1000
        self._ids = ids
        self._stamps = stamps
        self._producer: Producer | None = None
        self._stopping = Event()
        self._synced_at = time.monotonic()
        self._complained = ""

    def run(self) -> None:
        """Forward until `stop`."""
        while not self._stopping.is_set():
            self._sync_if_due()
            if self._spool.wait_for_payload(_POLL_S):
                # What comes right behind the first goes with it.
                self._stopping.wait(_GATHER_S)
                try:
                    self._forward(self._spool.take(BATCH_RECORDS_MAX))
                except RheostatError as error:
                    self._give_up_for_now(error)
                except Exception as error:  # a thread that died would leave the spool to fill up
                    logger.exception("feedback is not sent: defect in the forwarder")
                    self._give_up_for_now(Retryable(str(error)))
        self._disconnect()

    def stop(self) -> None:
        """Stop sending and wait for the end of the thread. Idempotent."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def _forward(self, entries: list[Entry]) -> None:
        """Send entries and acknowledge those that are dealt with, up to the first that is not. Raises Retryable."""
        events = [self._to_event(each) for each in entries]
        errors = self._send(events)
        for row, (event, error) in enumerate(zip(events, errors, strict=True)):
            if isinstance(error, Refused) and len(entries) > 1:
                error = self._send([event])[0]
            if isinstance(error, Refused) and event is not None:
                self._failures.add(event, error)
            elif error is not None:
                self._spool.acknowledge(entries[:row])
                raise Retryable(error)
        self._spool.acknowledge(entries)
        self._complained = ""

    def _send(self, events: Sequence[Feedback | None]) -> list[str | None]:
        """Send events and wait for the answers; return the error of each."""
        producer = self._producer = self._producer or self._connect()
        errors: list[str | None] = [None if each is None else _UNDER_WAY for each in events]
        for row, event in enumerate(events):
            if event is not None:
                send(producer, event, partial(errors.__setitem__, row), self._ids, self._stamps)
        # A string that comes as an answer is never this very object.
        while any(each is _UNDER_WAY for each in errors) and not self._stopping.is_set():
            producer.flush(int(_POLL_S * 1000))
            self._sync_if_due()
        return errors

    def _to_event(self, entry: Entry) -> Feedback | None:
        """Return the event of an entry; None, with a complaint, where it cannot be read any more."""
        if entry.payload is None:
            logger.error("an event in the spool is damaged and cannot be sent (segment %d)", entry.end.segment)
            return None
        try:
            event = _from_payload(entry.payload)
            encoded(event)
        except (ValueError, TypeError) as error:
            logger.error("an event in the spool cannot be read: %s: %.200r", error, entry.payload)
            return None
        return event

    def _give_up_for_now(self, error: RheostatError) -> None:
        """Wait a moment; say why once. After an error of the client itself the next try begins with a new one."""
        if str(error) != self._complained:
            self._complained = str(error)
            logger.warning("feedback waits in the spool: %s", error)
        if not isinstance(error, Retryable):
            self._disconnect()
        self._stopping.wait(_RETRY_S)

    def _sync_if_due(self) -> None:
        now = time.monotonic()
        if self._sync_s and now - self._synced_at >= self._sync_s:
            self._synced_at = now
            try:
                self._spool.sync()
            except OSError as error:
                logger.error("the spool cannot be synced to the disk: %s", error)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()


def _to_payload(event: Feedback) -> bytes:
    # JSON rather than the message's bytes: what an older version spooled can be read, and a person can read it.
    return _as_json({**event.record(), "channel": event.channel}).encode()


def _from_payload(payload: bytes) -> Feedback:
    return Feedback(**json.loads(payload))
