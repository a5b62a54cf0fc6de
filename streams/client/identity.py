"""Event ids that a retry makes again, so that intake drops it as a duplicate.

An id is a hash of who said what about which prediction. So the same statement (same source, prediction, subject and
content; only the time may differ) is the same event, however often a double click or an HTTP retry repeats it, and
another statement, such as a thumb down after a thumb up, is another event.

An idempotency key takes the place of the content: the same key with the same kind, prediction and subject is the same
event whatever it says, another key is another event. It is needed to say the same again on purpose (up, down, up), and
for feedback that lacks a prediction or a subject: nothing else tells one such event from the next, so without a key
each gets a random id.

A retraction is identified by the event that it takes back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

from rheostat.streams.client.event import Feedback

SECRET_BYTES_MIN = 16
_NO_SECRET = b"rheostat feedback event"
_ID_BYTES = 16
_NOT_SAID = ("event_id", "occurred_at", "source")


class EventIds:
    """Makes event ids of 32 hex digits. Who shares the secret makes the same id of the same statement.

    secret: 16 bytes or more. Without one, whoever reads the ledger can test guesses of a subject id against the ids of
    events, which the pseudonyms there are meant to prevent. Raises ValueError for a short one.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        if secret is not None and len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"identity_secret: has {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed")
        self._secret = secret or _NO_SECRET

    def id_of(self, event: Feedback, idempotency_key: str | None = None) -> str:
        """Return the id of what an event says; its own id is not looked at. Raises ValueError for an empty key."""
        if idempotency_key is not None:
            if not idempotency_key:
                raise ValueError("idempotency_key: must not be empty; leave it out if there is none")
            return self._hash("key", event.source, event.kind, event.prediction_id, event.subject_id, idempotency_key)
        if event.kind == "retraction":
            return self._hash("retraction", event.source, event.retracts)
        if not event.prediction_id or not event.subject_id:
            return uuid.uuid4().hex
        # Fields that say nothing are left out, so that a field added later does not change the ids of today.
        said = {name: given for name, given in event.record().items() if given is not None and name not in _NOT_SAID}
        return self._hash("statement", event.source, said)

    def _hash(self, *parts: Any) -> str:
        # JSON, because joining texts would make ("a", "bc") and ("ab", "c") the same.
        message = json.dumps(parts, sort_keys=True).encode()
        return hmac.new(self._secret, message, hashlib.sha256).digest()[:_ID_BYTES].hex()
