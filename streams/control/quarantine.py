"""Events held back, for people: find them, see why they are held, release or reject them.

Some are in quarantine since they came; others were accepted first and lost all weight when an alarm named their time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rheostat.schemas import catalogue
from rheostat.streams.control.once import Act, Done, Order, noted, notes, perform
from rheostat.streams.engine.block import Block, OutBlock, Place
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.stage import Log
from rheostat.streams.own_records import decode_own

KIND = "quarantine"
Verb = Literal["release", "reject"]


_ALARMS = ("burst", "lockstep")
"""Causes of corrections that hold events back, as against those that settle a contradiction."""


@dataclass(frozen=True, slots=True)
class Held:
    """An event held back, where it lies (in quarantine or in the ledger), and the record as it lies there."""

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
    """Yield the events that are meant, partition by partition, decided or not.

    Accepted ones are no longer held, and not told of, when a person released them or the alarm took its word back.
    """
    for partition in range(log.partitions(catalogue.QUARANTINE)):
        for block in log.read(catalogue.QUARANTINE, partition, since_ms=selection.since_ms):
            yield from (held for held in _of_block(block) if selection.has(held))
        corrected = _corrected(log, partition, selection.since_ms)
        if corrected:
            for block in log.read(catalogue.LEDGER, partition, since_ms=selection.since_ms):
                yield from (held for held in _of_ledger(block, corrected) if selection.has(held))


def release_notes(places: Sequence[Place], actor: str, reason: str, now_ms: int) -> OutBlock:
    """Return the note that events were released, to be written together with their release."""
    return notes(Order(KIND, "release", actor, reason, now_ms), places)


def decided(log: Log, since_ms: int) -> dict[str, str]:
    """Return what was decided since then: the verb, by the place of the event."""
    return noted(log, KIND, since_ms)


def decide(
    broker: Broker, verb: Verb, found: Iterable[Held], actor: str, reason: str, since_ms: int, now_ms: int
) -> Done:
    """Release or reject events; what was decided before stays as it is, see `once.perform`.

    Released events go to intake, which enters them into the ledger at the time they happened; accepted ones to the
    watch, which gives them their weight back. `since_ms`: decisions are looked for from then on.
    """
    acts = (Act(held.place, [_released(held)] if verb == "release" else []) for held in found)
    return perform(broker, Order(KIND, verb, actor, reason, now_ms), acts, since_ms)


def _corrected(log: Log, partition: int, since_ms: int) -> dict[str, dict[str, Any]]:
    """Return what is now different about the accepted events that alarms leave no weight, by event id."""
    standing: dict[tuple[str, str], dict[str, Any]] = {}
    for block in log.read(catalogue.CORRECTIONS, partition, since_ms=since_ms):
        for correction in decode_own(block).to_pylist():
            if correction["cause"] in _ALARMS:
                standing[correction["event_id"], correction["cause"]] = correction
    return {
        event_id: {"suspicion": 1.0, "reasons": correction["reasons"], "alarm": correction["alarm"]}
        for (event_id, _), correction in standing.items()
        if correction["keeps"] == 0.0
    }


def _of_ledger(block: Block, corrected: Mapping[str, Mapping[str, Any]]) -> Iterator[Held]:
    for held in _of_block(block):
        change = corrected.get(held.event["event_id"])
        if change is not None:
            yield replace(held, event={**held.event, **change})


def _of_block(block: Block) -> Iterator[Held]:
    events = decode_own(block).to_pylist()
    for row, event in enumerate(events):
        place = Place(block.topic, block.partition, block.offsets[row])
        yield Held(place, event, block.keys[row], block.values[row], block.timestamps_ms[row])


def _released(held: Held) -> OutBlock:
    return OutBlock(catalogue.RELEASED, held.place.partition, [held.key], [held.value], [held.occurred_at_ms])
