"""From a feedback event to the versions it taught, by reading the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Place
from rheostat.streams.engine.stage import Log
from rheostat.streams.models.version import Version


@dataclass(frozen=True, slots=True)
class Lesson:
    """A version that learned the event; `taken_back_in` is the epoch whose rollback dropped it again, if one did."""

    model: str
    version: str
    taken_back_in: int | None


@dataclass(slots=True)
class Trace:
    """What became of one event. Empty lists mean: not found since the time asked for."""

    event_id: str
    entries: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    corrections: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    examples: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)


def trace_event(log: Log, event_id: str, since_ms: int) -> Trace:
    """Follow an event through ledger or quarantine, corrections and examples to the versions that learned it."""
    found = Trace(event_id)
    for topic in (catalogue.LEDGER, catalogue.QUARANTINE):
        found.entries.extend(_with_first_field(log, topic, event_id, since_ms))
    found.corrections.extend(_with_first_field(log, catalogue.CORRECTIONS, event_id, since_ms))
    found.examples.extend(_with_first_field(log, catalogue.EXAMPLES, event_id, since_ms))
    for place, _ in found.examples:
        found.lessons.extend(_lessons(log, place, since_ms))
    return found


def manifests(log: Log, since_ms: int) -> Iterator[dict[str, Any]]:
    """Yield the manifest of every update published since then, in order."""
    for number in range(log.partitions(catalogue.MODELS)):
        for block in log.read(catalogue.MODELS, number, since_ms=since_ms):
            for value in block.values:
                if value is not None:
                    record = codec.decode_record(catalogue.MODELS, value)
                    if record["chunk"] == 0:
                        yield codec.decode_body(catalogue.MANIFEST, record["manifest"])


def _with_first_field(log: Log, topic: str, value: str, since_ms: int) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Find records whose first field, the id, has this value, decoding no more than that of the others."""
    for number in range(log.partitions(topic)):
        for block in log.read(topic, number, since_ms=since_ms):
            ids = codec.decode_fields(topic, block.values, 1).column(0).to_pylist()
            for row, found in enumerate(ids):
                if found == value:
                    yield Place(topic, number, block.offsets[row]), codec.decode_record(topic, block.values[row])


def _lessons(log: Log, example: Place, since_ms: int) -> list[Lesson]:
    taught: list[tuple[str, Version]] = []
    restarts: dict[str, list[tuple[int, dict[int, int]]]] = {}
    for manifest in manifests(log, since_ms):
        version = Version(manifest["epoch"], manifest["sequence"])
        if any(_holds(each, example) for each in manifest["training"]):
            taught.append((manifest["model"], version))
        if manifest["command_id"] is not None and version.sequence == 0:
            offsets = {each["partition"]: each["offset"] for each in manifest["offsets"]}
            restarts.setdefault(manifest["model"], []).append((version.epoch, offsets))
    return [
        Lesson(model, str(version), _taken_back(restarts.get(model, []), version, example)) for model, version in taught
    ]


def _holds(training: dict[str, Any], example: Place) -> bool:
    return bool(training["partition"] == example.partition and training["start"] <= example.offset < training["end"])


def _taken_back(restarts: list[tuple[int, dict[int, int]]], version: Version, example: Place) -> int | None:
    """Return the first later epoch that began before the example."""
    later = [
        epoch
        for epoch, offsets in restarts
        if epoch > version.epoch and offsets.get(example.partition, 0) <= example.offset
    ]
    return min(later, default=None)
