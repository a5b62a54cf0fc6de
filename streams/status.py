"""What an operator asks first: do the books balance, what runs where, is anything wrong?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.conservation import OUTCOMES, Books, read_books
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.stage import Log


@dataclass(frozen=True, slots=True)
class Status:
    """The books of intake, the last word of every server and learner, open alerts, the last decisions."""

    books: Books
    members: list[dict[str, Any]]
    open_alerts: list[dict[str, Any]]
    decisions: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "conservation_ok": self.books.balanced,
            "events_in": self.books.events,
            **{name: self.books.total(name) for name in OUTCOMES},
            "members": self.members,
            "open_alerts": self.open_alerts,
            "decisions": self.decisions,
        }


def read_status(broker: Broker, since_ms: int, decisions_max: int = 5) -> Status:
    """Read the present state from the log, looking back to `since_ms` for members, alerts and decisions."""
    log = broker.log()
    members: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records(log, catalogue.MODELS_STATUS, since_ms):
        members[record["member"], record["model"]] = record
    alerts: dict[str, dict[str, Any]] = {}
    for record in records(log, catalogue.ALERTS, since_ms):
        alerts[record["alert_id"]] = record
    decisions = list(records(log, catalogue.DECISIONS, since_ms))[-decisions_max:]
    return Status(
        books=read_books(broker),
        members=[members[key] for key in sorted(members)],
        open_alerts=[each for each in alerts.values() if each["state"] == "open"],
        decisions=decisions,
    )


def records(log: Log, topic: str, since_ms: int) -> Iterator[dict[str, Any]]:
    """Yield the records of a low-volume topic since then, decoded, partition by partition."""
    for number in range(log.partitions(topic)):
        for block in log.read(topic, number, since_ms=since_ms):
            for value in block.values:
                if value is not None:
                    yield codec.decode_record(topic, value)
