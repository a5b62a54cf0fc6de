"""What intake remembers of one partition, and how it is rebuilt from the log alone."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_fields
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.signals import codes_of
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Corrupt
from rheostat.streams.heap import give_back
from rheostat.streams.intake.bursts import BurstScorer, Events, events_of, joined
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.deduplicate import Deduplicator, Longs, Mask, repeated
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints, leading_fingerprints
from rheostat.streams.intake.settings import IntakeSettings

_ID_FIELDS = 1
_EVENT_FIELDS = 7
"""Leading fields of a ledger entry to decode: the id alone, or everything up to `value`."""

_WIRE_MAGIC = b"\x00"

_BURST_RECORDS = 200_000
_BURST_BLOCK = 5_000
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(slots=True)
class Memory:
    """The state of one partition number.

    `accepted` and `held` know the ids written to the ledger and to quarantine. They are two, each with a watermark of
    its own, because the order of records across two topics is not in the log: each is restored from one topic exactly.
    `transactions` counts calls, so that of several committed positions the newest is known.
    """

    accepted: Deduplicator
    held: Deduplicator
    bursts: BurstScorer | None
    counts: Counts = field(default_factory=Counts)
    transactions: int = 0

    def duplicates(self, ids: Fingerprints) -> Mask:
        """Return which rows repeat a known id or an earlier row."""
        return self.accepted.seen(ids) | self.held.seen(ids) | repeated(ids)

    def settle(self, counts: Counts) -> None:
        """Add what became of the events of a call. Raises AssertionError when they do not balance."""
        self.transactions += 1
        evicted = self.accepted.take_evicted() + self.held.take_evicted()
        self.counts += replace(counts, dedup_evicted=evicted)
        if self.counts.imbalance:
            raise AssertionError(f"intake lost or invented events: {self.counts}")

    def metadata(self) -> str:
        """Return what must be known exactly as of a commit and is not in the outputs, as JSON."""
        facts = {
            "seq": self.transactions,
            "watermark_ms": self.accepted.watermark_ms,
            "held_watermark_ms": self.held.watermark_ms,
            "counts": self.counts.as_json(),
        }
        return _JSON.encode(facts)


def fresh_memory(settings: IntakeSettings) -> Memory:
    """Return the state before the first event."""
    return Memory(
        Deduplicator(settings.dedup_window_ms, settings.dedup_ids_max),
        Deduplicator(settings.dedup_window_ms, settings.dedup_ids_max),
        BurstScorer(settings.bursts) if settings.bursts_enabled else None,
    )


def restored_memory(
    settings: IntakeSettings,
    partition: int,
    committed: Mapping[TopicPartition, Committed],
    log: Log,
    now_ms: int,
) -> Memory:
    """Rebuild the state as of the committed positions. Raises Corrupt if the outputs do not reach their watermark.

    Without metadata (nothing committed yet, or positions set by hand) everything in the outputs is folded.
    """
    memory = fresh_memory(settings)
    facts = _newest_facts(committed.values())
    memory.transactions = int(facts.get("seq", 0))
    memory.counts = Counts.from_json(facts.get("counts", {}))
    tails: list[Iterator[Events]] = []
    for topic, ids, watermark_ms in (
        (catalogue.LEDGER, memory.accepted, facts.get("watermark_ms")),
        (catalogue.QUARANTINE, memory.held, facts.get("held_watermark_ms")),
    ):
        since_ms = None if watermark_ms is None else ids.tail_ms(watermark_ms)
        if facts and watermark_ms is None:
            continue  # nothing was ever written there
        runs = _fold(topic, partition, ids, log, since_ms, settings.bursts_enabled)
        # What was released from quarantine is in both; it was scored when it came.
        tails.append(map(partial(_events, topic, memory.held if topic == catalogue.LEDGER else None), runs))
        if watermark_ms is not None:
            _check_reached(f"{topic}[{partition}]", ids, watermark_ms, now_ms - catalogue.TOPICS[topic].retention_ms)
    for ids in (memory.accepted, memory.held):
        ids.take_evicted()  # counted when it happened first
    if memory.bursts is not None:
        for events in _by_time([each for tail in tails for each in tail]):
            memory.bursts.score(events)
    tails.clear()
    give_back()
    return memory


def _check_reached(where: str, ids: Deduplicator, watermark_ms: int, deleted_before_ms: int) -> None:
    """Raise Corrupt if the fold lacks the newest event that was committed, unless that is so old as to be deleted."""
    if watermark_ms >= deleted_before_ms and (ids.watermark_ms is None or ids.watermark_ms < watermark_ms):
        raise Corrupt(
            where,
            f"its newest event is of {ids.watermark_ms}, but {watermark_ms} was committed. Records are missing, so "
            "duplicates would not be found. Bring them back, or set the group's offsets by hand to go on without them",
        )


def _newest_facts(committed: Iterable[Committed]) -> dict[str, Any]:
    # In a stage with more sources, metadata may be there before anything was read from these topics.
    found = [json.loads(each.metadata) for each in committed if each.metadata]
    return max(found, key=lambda facts: int(facts["seq"]), default={})


def _fold(
    topic: str, partition: int, ids: Deduplicator, log: Log, since_ms: int | None, with_events: bool
) -> Iterable[_Run]:
    """Remember the ids of one output; return its newest records, if wanted."""
    newest: deque[_Run] = deque()
    held = 0
    for block in log.read(topic, partition, since_ms=since_ms):
        run = _Run(block.values, np.asarray(block.timestamps_ms, np.int64))
        ids.remember(_ids(topic, run.values), run.times_ms)
        if with_events:
            newest.append(run)
            held += len(block)
            while held - len(newest[0].values) >= _BURST_RECORDS:
                held -= len(newest.popleft().values)
    return newest


class _Run(NamedTuple):
    """What is needed of a block until its events are decoded; the rest is freed meanwhile."""

    values: Sequence[bytes | None]
    times_ms: Longs


def _ids(topic: str, values: Sequence[bytes | None]) -> Fingerprints:
    """Return what the ids of our own records are known by; they are the first field."""
    found = leading_fingerprints(values, _WIRE_MAGIC + COMMITTED.id_of(topic).to_bytes(4, "big"))
    # Decoding either knows better or says what is wrong.
    return fingerprints(decode_fields(topic, values, _ID_FIELDS).column("event_id")) if found is None else found


def _events(topic: str, released: Deduplicator | None, run: _Run) -> Events:
    """Return the events of some records, but for the released ones."""
    batch = decode_fields(topic, run.values, _EVENT_FIELDS)
    events = events_of(
        batch.column("target_id"),
        batch.column("subject"),
        codes_of(batch.column("kind")),
        np.asarray(batch.column("value").to_numpy(), np.float64),
        run.times_ms,
    )
    if not released:
        return events
    return events.take(np.flatnonzero(~released.seen(_ids(topic, run.values))))


def _by_time(parts: list[Events]) -> Iterator[Events]:
    """Put events of both outputs into the order of their times, which is nearly the one they came in."""
    if not parts:
        return
    events = joined(parts)
    order = np.argsort(events.times_ms, kind="stable")
    for start in range(0, len(order), _BURST_BLOCK):
        yield events.take(order[start : start + _BURST_BLOCK])
