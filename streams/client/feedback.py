"""What a service uses to send feedback: typed methods, checked before anything leaves the process.

    with FeedbackClient("kafka:9092", source="shop") as client:
        client.thumb(answer.prediction_id, user_id, up=True, consent=user.agreed)

Needs the base install only. Safe to use from several threads.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from types import TracebackType
from typing import Unpack

from rheostat.streams.client.delivery import Delivery, OnFailure
from rheostat.streams.client.event import Details, Feedback, channel_of, check_time
from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.engine.broker import Broker

FLUSH_TIMEOUT_MS = 10_000


class FeedbackClient:
    """Sends feedback to Kafka: idempotent, acknowledged by all replicas, placed by murmur2 of the key.

    Every method checks its event as intake will (ValueError naming the field), queues it and returns it at once. To
    retry, `send` the returned event again: it keeps its id, so intake drops the second one. A full queue raises
    Retryable after about a second. What was not delivered is told to `on_failure` and raised by `flush`.
    Leaving the `with` block flushes.
    """

    def __init__(
        self,
        broker: Broker | str,
        *,
        source: str,
        prefix: str = "",
        clock: Clock | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        if not source:
            raise ValueError("source: must name the service")
        self._source = source
        self._clock = clock or WallClock()
        self._delivery = Delivery(_connect(broker, prefix).producer(), on_failure)

    def send(self, event: Feedback) -> Feedback:
        """Queue an event, again or for the first time. Raises ValueError when its time or size is refused."""
        check_time(event, self._clock.now_ms())
        self._delivery.queue(event)
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
        if details.get("consent") is None:
            raise ValueError("consent: must be given; it is never assumed")
        given = {name: value for name, value in details.items() if value is not None}
        given.setdefault("occurred_at", given.pop("occurred_at_ms", self._clock.now_ms()))
        # mypy cannot follow keys through a dict; Feedback checks every value itself.
        return Feedback(
            kind=kind,
            value=float(value),
            prediction_id=prediction_id,
            subject_id=subject_id,
            source=self._source,
            **given,  # type: ignore[arg-type]
        )

    def correct(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the answer was right."""
        return self.give("correct", 1.0, prediction_id, subject_id, **details)

    def incorrect(self, prediction_id: str | None, subject_id: str, **details: Unpack[Details]) -> Feedback:
        """Say that the answer was wrong."""
        return self.give("incorrect", 1.0, prediction_id, subject_id, **details)

    def correction(
        self, prediction_id: str | None, subject_id: str, *, label: float, **details: Unpack[Details]
    ) -> Feedback:
        """Give the right label, 0 to 1."""
        return self.give("correction", label, prediction_id, subject_id, **details)

    def thumb(self, prediction_id: str | None, subject_id: str, *, up: bool, **details: Unpack[Details]) -> Feedback:
        """Give a thumb up or down."""
        return self.give("thumb", float(up), prediction_id, subject_id, **details)

    def rating(
        self, prediction_id: str | None, subject_id: str, *, stars: float, **details: Unpack[Details]
    ) -> Feedback:
        """Give 1 to 5 stars."""
        return self.give("rating", stars, prediction_id, subject_id, **details)

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
        self, prediction_id: str | None, subject_id: str, *, seconds: float, **details: Unpack[Details]
    ) -> Feedback:
        """Say for how long it had the user's attention."""
        return self.give("dwell", seconds, prediction_id, subject_id, **details)

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
        """Take an event back, under the consent it was given with, on its own topic and partition: behind it.

        Taking the same event back twice is a duplicate.
        """
        return self.send(
            replace(
                event,
                kind="retraction",
                value=0.0,
                channel=channel_of(event),
                retracts=event.event_id,
                event_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"retract {event.source} {event.event_id}")),
                certainty=None,
                text=None,
                occurred_at=self._clock.now_ms(),
            )
        )

    def flush(self, timeout_ms: int = FLUSH_TIMEOUT_MS) -> None:
        """Wait until everything is delivered. Raises Undelivered with the events that were not."""
        self._delivery.flush(timeout_ms)

    def close(self) -> None:
        """Release the connection; what is still queued gets a moment to leave. Idempotent."""
        self._delivery.close()

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


def _connect(broker: Broker | str, prefix: str) -> Broker:
    if not isinstance(broker, str):
        return broker
    # Only here, so that a service that brings its own broker does not load librdkafka.
    from rheostat.streams.engine.kafka import KafkaBroker

    return KafkaBroker(broker, prefix=prefix)
