"""Where a server that starts begins to read `models`, so that it reads little of a topic that has everything ever told.

From the end backwards, in steps that double, until there is a complete base of every model. What is read so is at most
some times the newest base and what came after it, however long the topic is; the server then reads on from that base.
Nothing found here is believed: every check is made when it is read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Place, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.models.commands import open_command
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.topic import StoredRecord, StoredUpdate, model_partition, signed_bases
from rheostat.streams.models.update import key_model, key_version
from rheostat.streams.models.version import Version
from rheostat.streams.serving.lineage import keeps_hold

STEP = 2_000
"""Offsets in the first step. A topic that has no more is read from its beginning."""

HISTORY_MS = 60_000
"""How far back versions can be gone back to, at least, right after the start."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What must be there of a model: some versions, the newest, and those of the time before it."""

    model: str
    versions: frozenset[Version] = field(default=frozenset())
    history_ms: int = HISTORY_MS


def start_offsets(log: Log, keys: KeyRing, wanted: Sequence[Wanted], step: int = STEP) -> dict[TopicPartition, int]:
    """Return where to begin in those partitions of `models` that need not be read from their beginning.

    Models that somebody froze or pinned, or rolled back with nothing published since, are read from the beginning:
    what is served of them may be as old as it likes.
    """
    found = {}
    by_partition: dict[int, list[Wanted]] = {}
    for each in wanted:
        by_partition.setdefault(model_partition(log, each.model), []).append(each)
    epochs = _epochs_in_force(log, keys)
    for partition, some in by_partition.items():
        start = _start(log, keys, partition, some, epochs, step)
        if start is not None:
            found[TopicPartition(catalogue.MODELS, partition)] = start
    return found


def _start(
    log: Log, keys: KeyRing, partition: int, wanted: Sequence[Wanted], epochs: Mapping[str, int], step: int
) -> int | None:
    low, end = log.bounds(catalogue.MODELS, partition)
    records: dict[str, list[StoredRecord]] = {each.model: [] for each in wanted}
    at = end
    while at - low > step:
        earlier = _records(log, partition, at - step, at, records.keys())
        records = {model: earlier[model] + later for model, later in records.items()}
        at, step = at - step, 2 * step
        starts = [_base(records[each.model], keys, each, epochs.get(each.model, 0)) for each in wanted]
        if all(start is not None for start in starts):
            return min(start for start in starts if start is not None)
    return None


def _base(records: Sequence[StoredRecord], keys: KeyRing, wanted: Wanted, epoch: int) -> int | None:
    """Return where the base lies from which all that is wanted follows, if it is certain that it lies there."""
    bases = signed_bases(records, keys)
    if not bases:
        return None
    newest = max(bases, key=lambda base: base.manifest.version).manifest
    # What is told behind it must follow from it, and so must what was ordered.
    if newest.version.epoch < max(epoch, max(key_version(record.key).epoch for record in records)):
        return None
    until_ms = newest.facts.published_at_ms - wanted.history_ms
    fit = [base for base in bases if base.manifest.facts.published_at_ms <= until_ms and _fits(base, wanted)]
    # Deltas behind it may lie before it, up to the record of an older version.
    if not fit or fit[-1].place.offset == records[0].place.offset:
        return None
    return fit[-1].place.offset


def _fits(base: StoredUpdate, wanted: Wanted) -> bool:
    """Whether there is something to answer with from a base on, and every version that must be there comes behind."""
    return not base.manifest.facts.withheld and all(base.manifest.version <= each for each in wanted.versions)


def _records(log: Log, partition: int, start: int, end: int, models: Iterable[str]) -> dict[str, list[StoredRecord]]:
    """Return the records [start, end) of some models; only of the first of each base is the value kept."""
    found: dict[str, list[StoredRecord]] = {model: [] for model in models}
    for block in log.read(catalogue.MODELS, partition, start_offset=start, end_offset=end):
        for offset, key, value in zip(block.offsets, block.keys, block.values, strict=True):
            own = found.get(key_model(key) or "")
            if own is not None and value is not None:
                kept = value if _FIRST_OF_BASE.search(key or b"") else b""
                own.append(StoredRecord(Place(catalogue.MODELS, partition, offset), key, kept))
    return found


_ANY_EPOCH = 1 << 62
_FIRST_OF_BASE = re.compile(rb"\|base\|[0-9.]*\|0$")


def _epochs_in_force(log: Log, keys: KeyRing) -> dict[str, int]:
    """Return the epoch that the newest base of a model must have, where orders ask for one; none has _ANY_EPOCH."""
    held: dict[str, str] = {}
    epochs: dict[str, int] = {}
    for partition in range(log.partitions(catalogue.MODELS_COMMANDS)):
        for block in log.read(catalogue.MODELS_COMMANDS, partition):
            for value in block.values:
                try:
                    command = open_command(value, keys)
                except Refused:
                    continue
                if command.kind in ("freeze", "pin"):
                    held[command.model] = command.issuer
                elif command.kind == "resume" and not keeps_hold(held.get(command.model, ""), command):
                    held.pop(command.model, None)
                elif command.kind == "rollback":
                    epochs[command.model] = max(command.epoch, epochs.get(command.model, 0))
    return {**epochs, **dict.fromkeys(held, _ANY_EPOCH)}
