"""OpenFeature's `track()` as feedback: a provider around the one that resolves a team's flags.

    api.set_provider(FeedbackProvider(the_flag_provider, FeedbackClient("kafka:9092", source="shop")))
    client.track(
        "rating",
        EvaluationContext(user_id, {"consent": user.agreed}),
        TrackingEventDetails(4, {"prediction_id": answer.prediction_id}),
    )

The tracking event's name is the kind of feedback, its value the kind's value, the targeting key the subject. Everything
else comes from the attributes of the event or, where it has none of that name, of the context: `prediction_id`,
`target_id`, `segment`, `text`, `certainty`, `idempotency_key`, and `consent`, which is never assumed. Events of other
names are no feedback; like all events they go on to the provider inside.

Nothing is imported from OpenFeature: what it calls are methods of the names and arguments in its specification
(sections 2 and 6).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from rheostat.schemas.signals import KINDS
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.client.making import Details, value_of
from rheostat.streams.errors import BrokerError

logger = logging.getLogger("rheostat.client")

_DETAILS = ("consent", "target_id", "certainty", "segment", "text", "idempotency_key")

OnRejected = Callable[[str, str], None]
"""Told the name of a tracking event that could not become feedback, and why."""


class Context(Protocol):
    """OpenFeature's evaluation context."""

    @property
    def targeting_key(self) -> str | None:
        """The subject."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What else is known of it."""


class TrackingDetails(Protocol):
    """OpenFeature's tracking event details."""

    @property
    def value(self) -> float | None:
        """The value of the event."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What else it says."""


def log_rejected(name: str, reason: str) -> None:
    """Log a tracking event that could not become feedback."""
    logger.warning("tracking event %s is not sent as feedback: %s", name, reason)


class FeedbackProvider:
    """Resolves flags as the provider inside does, and sends tracking events whose name is a kind of feedback.

    `track` never raises: an application must not fail because of it. What was wrong is told to `on_rejected`.
    """

    def __init__(self, inside: Any, client: FeedbackClient, on_rejected: OnRejected = log_rejected) -> None:
        self._inside = inside
        self._client = client
        self._on_rejected = on_rejected

    def __getattr__(self, name: str) -> Any:
        """Return what the provider inside has under this name: resolution, metadata, hooks, life cycle."""
        return getattr(self._inside, name)

    def attach(self, on_emit: Callable[[Any, Any, Any], None]) -> None:
        """Let OpenFeature hear of the events of the provider inside, as events of this one."""
        self._inside.attach(lambda _inside, event, details: on_emit(self, event, details))

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: Context | None = None,
        tracking_event_details: TrackingDetails | None = None,
    ) -> None:
        """Send feedback of the kind that the event is named after, and pass the event on to the provider inside."""
        if tracking_event_name in KINDS and KINDS[tracking_event_name].channel is not None:
            try:
                self._send(tracking_event_name, evaluation_context, tracking_event_details)
            except (ValueError, TypeError, BrokerError) as error:
                self._on_rejected(tracking_event_name, str(error))
        track = getattr(self._inside, "track", None)
        if track is not None:
            track(tracking_event_name, evaluation_context, tracking_event_details)

    def _send(self, kind: str, context: Context | None, details: TrackingDetails | None) -> None:
        said = {
            **(context.attributes if context is not None else {}),
            **(details.attributes if details is not None else {}),
        }
        subject_id = (context.targeting_key if context is not None else None) or ""
        more = cast(Details, {name: said[name] for name in _DETAILS if name in said})
        value = value_of(kind, details.value if details is not None else None)
        self._client.give(kind, value, said.get("prediction_id"), subject_id, **more)
