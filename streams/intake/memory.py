"""What intake remembers of one partition, and how it is rebuilt from the log alone."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.packed import Packed
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Corrupt
from rheostat.streams.heap import give_back
from rheostat.streams.intake.alarms import StandingAlarms, alarms_read
from rheostat.streams.intake.bursts import BurstScorer, Events, joined
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.deduplicate import Deduplicator, Mask, repeated
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.intake.recall import Recall
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.tail import events_in, ids_in
from rheostat.streams.intake.weigher import Weigher

_BURST_RECORDS = 200_000
_BURST_BLOCK = 5_000
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(slots=True)
class Memory:
    """The state of one partition number.

    `accepted` and `held` know the ids written to the ledger and to quarantine. They are two, each with a watermark of
    its own, because the order of records across two topics is not in the log: each is restored from one topic exactly.
    `transactions` counts calls, so that of several committed positions the newest is known. `alarms` are those of the
    watch that have been read.
    """

    accepted: Deduplicator
    held: Deduplicator
    bursts: BurstScorer | None
    weigher: Weigher
    counts: Counts = field(default_factory=Counts)
    transactions: int = 0
    alarms: StandingAlarms = field(default_factory=StandingAlarms)

    def duplicates(self, ids: Fingerprints) -> Mask:
        """Return which rows repeat a known id or an earlier row."""
        return self.accepted.seen(ids) | self.held.seen(ids) | repeated(ids)

    def settle(self, counts: Counts) -> None:
        """Add what became of the events of a call. Raises AssertionError when they do not balance."""
        self.transactions += 1
        evicted = self.accepted.take_evicted() + self.held.take_evicted()
        self.counts += replace(counts, dedup_evicted=evicted, **self.weigher.take_counts())
        if self.counts.imbalance:
            raise AssertionError(f"intake lost or invented events: {self.counts}")

    def metadata(self) -> str:
        """Return what must be known exactly as of a commit and is not in the outputs, as JSON."""
        facts = {
            "seq": self.transactions,
            "watermark_ms": self.accepted.watermark_ms,
            "held_watermark_ms": self.held.watermark_ms,
            "counts": self.counts.as_json(),
            "reliability": self.weigher.reliability.as_text(),
        }
        return _JSON.encode(facts)


def fresh_memory(settings: IntakeSettings) -> Memory:
    """Return the state before the first event."""
    return Memory(
        Deduplicator(settings.dedup_window_ms, settings.dedup_ids_max),
        Deduplicator(settings.dedup_window_ms, settings.dedup_ids_max),
        BurstScorer(settings.bursts) if settings.bursts_enabled else None,
        Weigher(
            settings.weights,
            settings.bursts.downweight_at,
            min(settings.weights.conflict_window_ms, settings.dedup_window_ms),
        ),
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
    _refill(memory, settings, partition, committed, log, now_ms)
    give_back()  # What was read is forgotten by now, all of it.
    return memory


def _refill(
    memory: Memory,
    settings: IntakeSettings,
    partition: int,
    committed: Mapping[TopicPartition, Committed],
    log: Log,
    now_ms: int,
) -> None:
    facts = _newest_facts(committed.values())
    memory.transactions = int(facts.get("seq", 0))
    memory.counts = Counts.from_json(facts.get("counts", {}))
    memory.alarms = alarms_read(log, partition, committed)
    memory.weigher.rate(facts.get("reliability", ""))
    recall = Recall(memory.weigher, settings.weights, facts.get("watermark_ms"))
    tails: list[Iterator[Events]] = []
    for topic, ids, watermark_ms in (
        (catalogue.LEDGER, memory.accepted, facts.get("watermark_ms")),
        (catalogue.QUARANTINE, memory.held, facts.get("held_watermark_ms")),
    ):
        since_ms = None if watermark_ms is None else ids.tail_ms(watermark_ms)
        if since_ms is not None and topic == catalogue.LEDGER:
            since_ms = min(since_ms, recall.since_ms)
        if facts and watermark_ms is None:
            continue  # nothing was ever written there
        told = recall if topic == catalogue.LEDGER else None
        runs = _fold(topic, partition, ids, log, since_ms, settings.bursts_enabled, told)
        # What was released from quarantine is in both; it was scored when it came.
        tails.append(map(partial(_events, topic, memory.held if topic == catalogue.LEDGER else None), runs))
        if watermark_ms is not None:
            _check_reached(f"{topic}[{partition}]", ids, watermark_ms, now_ms - catalogue.TOPICS[topic].retention_ms)
    recall.finish(memory.accepted.watermark_ms)
    for ids in (memory.accepted, memory.held):
        ids.take_evicted()  # counted when it happened first
    if memory.bursts is not None:
        for events in _by_time([each for tail in tails for each in tail]):
            memory.bursts.score(events)


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
    topic: str,
    partition: int,
    ids: Deduplicator,
    log: Log,
    since_ms: int | None,
    with_events: bool,
    told: Recall | None,
) -> Iterable[Packed]:
    """Remember the ids of one output and tell what is to be told of it; return its newest records, if wanted."""
    newest: deque[Packed] = deque()
    held = 0
    for run in log.read_packed(topic, partition, since_ms=since_ms):
        ids.remember(ids_in(topic, run), run.timestamps_ms)
        if told is not None:
            told.tell(run)
        if with_events:
            newest.append(run)
            held += len(run)
            while held - len(newest[0]) >= _BURST_RECORDS:
                held -= len(newest.popleft())
    return newest


def _events(topic: str, released: Deduplicator | None, run: Packed) -> Events:
    """Return the events of some records, but for the released ones."""
    events = events_in(topic, run)
    if not released:
        return events
    return events.take(np.flatnonzero(~released.seen(ids_in(topic, run))))


def _by_time(parts: list[Events]) -> Iterator[Events]:
    """Put events of both outputs into the order of their times, which is nearly the one they came in."""
    if not parts:
        return
    events = joined(parts)
    order = np.argsort(events.times_ms, kind="stable")
    for start in range(0, len(order), _BURST_BLOCK):
        yield events.take(order[start : start + _BURST_BLOCK])
