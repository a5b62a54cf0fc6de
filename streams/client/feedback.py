"""What a service uses to send feedback: typed methods, checked before anything leaves the process.

    with FeedbackClient("kafka:9092", source="shop") as client:
        client.thumb(answer.prediction_id, user_id, up=True, consent=user.agreed)

Needs the base install only. Safe to use from several threads.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Unpack

from rheostat.schemas.catalogue import FEEDBACK
from rheostat.schemas.ids import IdTable
from rheostat.schemas.registry import Registry
from rheostat.streams.client.delivery import Delivery, OnFailure, Outbox
from rheostat.streams.client.event import Feedback, check_time
from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.identity import EventIds
from rheostat.streams.client.making import Details, channel_named_by, make_event, on_stars, retraction_of
from rheostat.streams.client.spool import SpoolSettings, SpoolStats
from rheostat.streams.client.stamps import EVERY, Stamps
from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.engine.broker import Broker

FLUSH_TIMEOUT_MS = 10_000


class FeedbackClient:
    """Sends feedback to Kafka: idempotent, acknowledged by all replicas, placed by murmur2 of the key.

    Every method checks its event as intake will (ValueError naming the field), queues it and returns it at once.

    The same statement is the same event: a thumb up given twice by one user for one prediction, by a double click or a
    retry of the request, has one id and counts once, within the window of intake's duplicates (24 h by default). A
    thumb down afterwards is another event. To say the same again on purpose (up, down, up), give an `idempotency_key`:
    the id of the click, or the event_id of the statement that is changed. Feedback without a prediction or a subject
    gets a random id unless it has a key. See `identity.py`; an `identity_secret`, the same in all processes of the
    service, keeps ids from telling who gave the feedback.

    Without a spool, events wait in memory. A full queue raises Retryable after about a second; what was not delivered
    is told to `on_failure` and raised by `flush`. With a `spool`, a folder of this process alone, they wait on disk,
    for as long as Kafka is away and over restarts; what does not fit raises SpoolFull. Leaving the `with` block
    flushes.

    registry: address of a schema registry that the pipeline goes by; it is asked for the schemas' ids once, here, and
    RegistryError is raised where it does not answer or does not have them.

    stamp_every: which events carry a stamp that freshness is measured by: every so-many-th, 0 none.
    """

    def __init__(
        self,
        broker: Broker | str,
        *,
        source: str,
        prefix: str = "",
        clock: Clock | None = None,
        on_failure: OnFailure | None = None,
        spool: SpoolSettings | Path | str | None = None,
        identity_secret: bytes | None = None,
        registry: str | None = None,
        stamp_every: int = EVERY,
    ) -> None:
        if not source:
            raise ValueError("source: must name the service")
        self._source = source
        self._clock = clock or WallClock()
        self._ids = EventIds(identity_secret)
        schema_ids = None if registry is None else Registry(registry, prefix).ids_of(FEEDBACK)
        stamps = Stamps(stamp_every, self._clock)
        self._outbox = _outbox(_connect(broker, prefix), spool, on_failure, schema_ids, stamps)

    def send(self, event: Feedback) -> Feedback:
        """Queue an event, again or for the first time. Raises ValueError when its time or size is refused."""
        check_time(event, self._clock.now_ms())
        self._outbox.queue(event)
        return event

    def give(
        self, kind: str, value: float, prediction_id: str | None, subject_id: str, **details: Unpack[Details]
    ) -> Feedback:
        """Make an event of any kind in `schemas/signals.py` and send it; the methods below name the kinds."""
        return self.send(self.make(kind, value, prediction_id, subject_id, **details))

    def make(
        self, kind: str, value: float, prediction_id: str | None, subject_id: str, **details: Unpack[Details]
    ) -> Feedback:
        """Make an event without sending it, so that a service can keep it until it has been delivered."""
        now_ms = self._clock.now_ms()
        return make_event(self._ids, self._source, now_ms, kind, value, prediction_id, subject_id, **details)

    def correct(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the answer was right."""
        return self.give("correct", 1.0, prediction_id, subject_id, **details)

    def incorrect(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the answer was wrong."""
        return self.give("incorrect", 1.0, prediction_id, subject_id, **details)

    def correction(
        self, prediction_id: str | None, subject_id: str, *, label: float, **details: Unpack[Details]
    ) -> Feedback:
        """Give the right label, 0 (worst) to 1 (best)."""
        return self.give("correction", label, prediction_id, subject_id, **details)

    def thumb(self, prediction_id: str | None, subject_id: str, *, up: bool, **details: Unpack[Details]) -> Feedback:
        """Give a thumb up or down."""
        return self.give("thumb", float(up), prediction_id, subject_id, **details)

    def rating(
        self,
        prediction_id: str | None,
        subject_id: str,
        *,
        stars: float,
        scale: tuple[float, float] = (1.0, 5.0),
        **details: Unpack[Details],
    ) -> Feedback:
        """Give stars, from the lowest to the highest of `scale`; another scale than 1 to 5 is mapped to it linearly."""
        return self.give("rating", on_stars(stars, scale), prediction_id, subject_id, **details)

    def accept(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the suggestion was taken."""
        return self.give("accept", 1.0, prediction_id, subject_id, **details)

    def dismiss(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the suggestion was waved away."""
        return self.give("dismiss", 1.0, prediction_id, subject_id, **details)

    def click(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that it was clicked."""
        return self.give("click", 1.0, prediction_id, subject_id, **details)

    def dwell(
        self, prediction_id: str | None, subject_id: str, *, dwell_ms: float, **details: Unpack[Details]
    ) -> Feedback:
        """Say for how many milliseconds it had the user's attention, at most a day."""
        return self.give("dwell", dwell_ms / 1000, prediction_id, subject_id, **details)

    def copy(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that it was copied."""
        return self.give("copy", 1.0, prediction_id, subject_id, **details)

    def undo(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that its effect was undone."""
        return self.give("undo", 1.0, prediction_id, subject_id, **details)

    def conversion(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that it led to the goal."""
        return self.give("conversion", 1.0, prediction_id, subject_id, **details)

    def task_completed(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the user's task was done."""
        return self.give("task_completed", 1.0, prediction_id, subject_id, **details)

    def retained(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the user came back."""
        return self.give("retained", 1.0, prediction_id, subject_id, **details)

    def escalated(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that it had to be handed to a person."""
        return self.give("escalated", 1.0, prediction_id, subject_id, **details)

    def retract(self, event: Feedback) -> Feedback:
        """Take an event back, under the consent it was given with. Taking the same event back twice is a duplicate."""
        return self.send(retraction_of(event, self._ids, self._clock.now_ms()))

    def retraction(
        self,
        prediction_id: str | None,
        subject_id: str,
        *,
        retracts: str,
        of_kind: str,
        **details: Unpack[Details],
    ) -> Feedback:
        """Take back the event with this id, which had this kind, prediction and subject, where only these are known."""
        event = make_event(
            self._ids,
            self._source,
            self._clock.now_ms(),
            "retraction",
            0.0,
            prediction_id,
            subject_id,
            retracts=retracts,
            channel=channel_named_by(of_kind),
            **details,
        )
        return self.send(event)

    def flush(self, timeout_ms: int = FLUSH_TIMEOUT_MS) -> int:
        """Wait until everything is delivered; return how many events are still in the spool, 0 without one.

        Raises Undelivered with the events that were not delivered, and without a spool for those still under way.
        """
        return self._outbox.flush(timeout_ms)

    def spooled(self) -> SpoolStats | None:
        """Return how many events wait in the spool and how many were dropped; None without a spool."""
        return self._outbox.stats() if isinstance(self._outbox, SpooledDelivery) else None

    def close(self) -> int:
        """Release everything, after a moment for what is queued; return how many events stay in the spool. Idempotent.

        They are sent when the service starts again with the same folder.
        """
        return self._outbox.close()

    def __enter__(self) -> FeedbackClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()


def _outbox(
    broker: Broker,
    spool: SpoolSettings | Path | str | None,
    on_failure: OnFailure | None,
    schema_ids: IdTable | None,
    stamps: Stamps,
) -> Outbox:
    if spool is None:
        return Delivery(broker.producer(), on_failure, schema_ids, stamps)
    settings = spool if isinstance(spool, SpoolSettings) else SpoolSettings(Path(spool))
    return SpooledDelivery(settings, broker.producer, on_failure, schema_ids, stamps)


def _connect(broker: Broker | str, prefix: str) -> Broker:
    if not isinstance(broker, str):
        return broker
    # Only here, so that a service that brings its own broker does not load librdkafka.
    from rheostat.streams.engine.kafka import KafkaBroker

    return KafkaBroker(broker, prefix=prefix)
