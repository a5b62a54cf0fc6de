"""Acts of people on single records of the log, each done once however often it is ordered.

What an act writes and the note of it in `audit` are one transaction. An action is named `<object>.<verb>`, such as
`quarantine.release`; to a record one verb is done, once. The transactional id is the object's, so a second process
fences the first, and reads the notes only after everything of the first is settled.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from rheostat.schemas import catalogue, codec
from rheostat.schemas.cloudevents import CloudEvent, write_headers
from rheostat.streams.engine.block import OutBlock, Place
from rheostat.streams.engine.broker import Broker, TransactionalProducer
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Abortable
from rheostat.streams.status import records

_ACTS_MAX = 500
"""Acts in one transaction."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants what, and why: `kind` and `verb` are the two parts of the action's name."""

    kind: str
    verb: str
    actor: str
    reason: str
    at_ms: int


class Act(NamedTuple):
    """A record that is acted on, and what is written for it."""

    place: Place
    records: Sequence[OutBlock]


class Done(NamedTuple):
    """How many acts were done now, and on how many records this or another verb had been done before."""

    now: int
    before: int


def noted(log: Log, kind: str, since_ms: int) -> dict[str, str]:
    """Return the verbs that were done, by the places of the records, as noted since then."""
    found = (each for each in records(log, catalogue.AUDIT, since_ms) if each["action"].startswith(f"{kind}."))
    return {each["object"]: each["action"].removeprefix(f"{kind}.") for each in found}


def perform(broker: Broker, order: Order, acts: Iterable[Act], since_ms: int) -> Done:
    """Do those acts that were not done before; `since_ms` is no later than the oldest record acted on was written.

    Raises Fenced when another process orders the same meanwhile, and Abortable when a transaction fails: what is done
    by then is noted, so ordering it again does the rest.
    """
    producer = broker.transactional_producer(f"rheostat-{order.kind}")
    try:
        before = set(noted(broker.log(), order.kind, since_ms))
        done = repeated = 0
        for part in _parts(acts):
            fresh = {str(act.place): act for act in part if str(act.place) not in before}
            repeated += len(part) - len(fresh)
            if fresh:
                _commit(producer, order, list(fresh.values()))
                done += len(fresh)
                before |= fresh.keys()
        return Done(done, repeated)
    finally:
        producer.close()


def _commit(producer: TransactionalProducer, order: Order, acts: Sequence[Act]) -> None:
    producer.begin()
    try:
        for act in acts:
            for block in act.records:
                producer.write(block)
        producer.write(notes(order, [act.place for act in acts]))
        producer.commit()
    except Abortable:
        producer.abort()
        raise


def notes(order: Order, places: Sequence[Place]) -> OutBlock:
    """Return what is noted of an order, to be written together with what it does."""
    entries = [_entry(order, place) for place in places]
    return OutBlock(
        catalogue.AUDIT,
        0,
        [str(place).encode() for place in places],
        [codec.encode_record(catalogue.AUDIT, entry) for entry in entries],
        [order.at_ms] * len(places),
        [
            write_headers(CloudEvent(str(entry["entry_id"]), order.actor, catalogue.AUDIT, order.at_ms, str(place)))
            for entry, place in zip(entries, places, strict=True)
        ],
    )


def _entry(order: Order, place: Place) -> Mapping[str, object]:
    return {
        "entry_id": str(uuid.uuid4()),
        "actor": order.actor,
        "action": f"{order.kind}.{order.verb}",
        "object": str(place),
        "detail": {"reason": order.reason},
        "at": order.at_ms,
    }


def _parts(acts: Iterable[Act]) -> Iterator[list[Act]]:
    remaining = iter(acts)
    while part := list(islice(remaining, _ACTS_MAX)):
        yield part
