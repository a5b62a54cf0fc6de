"""Quarantined events for people: find them, see why they are held, release or reject them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rheostat.schemas import catalogue
from rheostat.streams.control.once import Act, Done, Order, noted, perform
from rheostat.streams.engine.block import Block, OutBlock, Place
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.stage import Log
from rheostat.streams.own_records import decode_own

KIND = "quarantine"
Verb = Literal["release", "reject"]


@dataclass(frozen=True, slots=True)
class Held:
    """A quarantined event, where it lies, and the record as it lies there."""

    place: Place
    event: dict[str, Any]
    key: bytes | None
    value: bytes | None
    occurred_at_ms: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are meant: those that happened from `since_ms` until before `until_ms`, of one target or of one id.

    None means any.
    """

    since_ms: int
    until_ms: int | None = None
    target: str | None = None
    event_id: str | None = None

    def has(self, held: Held) -> bool:
        """Whether an event is meant."""
        return (
            held.occurred_at_ms >= self.since_ms
            and (self.until_ms is None or held.occurred_at_ms < self.until_ms)
            and self.target in (None, held.event["target_id"])
            and self.event_id in (None, held.event["event_id"])
        )


def held_events(log: Log, selection: Selection) -> Iterator[Held]:
    """Yield the events that are meant, partition by partition, decided or not."""
    for partition in range(log.partitions(catalogue.QUARANTINE)):
        for block in log.read(catalogue.QUARANTINE, partition, since_ms=selection.since_ms):
            yield from (held for held in _of_block(block) if selection.has(held))


def decided(log: Log, since_ms: int) -> dict[str, str]:
    """Return what was decided since then: the verb, by the place of the event."""
    return noted(log, KIND, since_ms)


def decide(
    broker: Broker, verb: Verb, found: Iterable[Held], actor: str, reason: str, since_ms: int, now_ms: int
) -> Done:
    """Release or reject events; what was decided before stays as it is, see `once.perform`.

    Released events go to intake, which enters them into the ledger at the time they happened. `since_ms`: decisions
    are looked for from then on.
    """
    acts = (Act(held.place, [_released(held)] if verb == "release" else []) for held in found)
    return perform(broker, Order(KIND, verb, actor, reason, now_ms), acts, since_ms)


def _of_block(block: Block) -> Iterator[Held]:
    events = decode_own(block).to_pylist()
    for row, event in enumerate(events):
        place = Place(block.topic, block.partition, block.offsets[row])
        yield Held(place, event, block.keys[row], block.values[row], block.timestamps_ms[row])


def _released(held: Held) -> OutBlock:
    return OutBlock(catalogue.RELEASED, held.place.partition, [held.key], [held.value], [held.occurred_at_ms])
