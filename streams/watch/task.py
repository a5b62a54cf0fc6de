"""The state of the watch, and what it does with what it reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import encode_record
from rheostat.streams.control.quarantine import decided, release_notes
from rheostat.streams.engine.block import Block, OutBlock, Place, TopicPartition
from rheostat.streams.engine.stage import Log, Output
from rheostat.streams.errors import Corrupt
from rheostat.streams.intake.alarms import LOCKSTEP, TARGET, Alarm, StandingAlarms, alarms_told
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.intake.lockstep import LockstepAlarm
from rheostat.streams.watch.corrections import BURST, corrections
from rheostat.streams.watch.detectors import Detectors, Seen, twins
from rheostat.streams.watch.history import events_on, held_by_alarms, picked, places, rows_at
from rheostat.streams.watch.releases import accepted_ids, accepted_rows
from rheostat.streams.watch.rows import ACCEPTED, TOPICS, Rows, concatenated, read_rows
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.watch.state import Again, Tables, kept, reading_record, snapshot_records, unpacked
from rheostat.streams.watch.steps import later_halves
from rheostat.streams.watch.waiting import Waiting

Offsets = Mapping[TopicPartition, int]

ACTOR = "watch"
"""Who releases, in the audit log."""

SEEN, RELEASED = "seen", "released"
"""Names of counts; the others are `alarms.` with what they are about, and `corrected.` with the cause."""


class WatchTask:
    """The watch over all partitions.

    `counts` are cumulative over restarts: events seen, alarms raised by what they are about, events corrected by cause,
    events released.
    """

    def __init__(self, settings: WatchSettings, log: Log, offsets: Offsets, now_ms: int) -> None:
        self.counts: Counter[str] = Counter()
        self.alarms = alarms_told(log, 0)
        self._settings = settings
        self._log = log
        self._partitions = log.partitions(catalogue.LEDGER)
        self._ends = {at: offset for at, offset in offsets.items() if at.topic in TOPICS}
        self._exempt = accepted_ids(log, offsets)
        self._detectors = Detectors(settings)
        self._waiting = Waiting(self._partitions, settings.idle_ms, settings.waiting_events_max)
        # Of a life before this one, if the offsets were set by hand: their numbers are taken.
        self._numbers_taken = max((alarm.number for alarm in self.alarms.standing()), default=0)
        self._orphans: list[Alarm] = []
        self._transactions = self._snapshot = self._readings = self._replayed = 0
        self._snapshot_at_ms = now_ms
        # A partition is silent only while somebody listens: how far the clock of the watch is behind the time.
        self._opened_ms = now_ms
        self._not_running_ms = 0

    @property
    def waiting(self) -> int:
        """Events that wait for those of other partitions."""
        return len(self._waiting)

    @property
    def unwatched(self) -> int:
        """Events on targets for which there was no place."""
        return self._detectors.unwatched

    def begin_anew(self) -> None:
        """Begin without a state. Alarms of a life before this one cannot grow any more."""
        self._detectors.number_from(self._numbers_taken)
        self._orphans = [replace(alarm, over=True) for alarm in self.alarms.standing() if not alarm.over]

    def take_up(self, facts: Mapping[str, Any]) -> None:
        """Go on from what was committed. Raises Corrupt."""
        self.counts.update(facts["counts"])
        self._transactions, self._snapshot = int(facts["seq"]), int(facts["snapshot"])
        self._numbers_taken = int(facts["numbers_taken"])
        self._not_running_ms = self._opened_ms - int(facts["at"])
        found = kept(self._log, self._snapshot, int(facts["readings"]))
        if found.snapshot:
            self._put_back(found.snapshot)
        else:
            self._detectors.number_from(self._numbers_taken)
        again = Again(self._log, found.readings)
        for reading in found.readings:
            self._advance(read_rows(again.blocks(reading)), reading.at_ms)
            self._readings += 1

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Look at what came, and at what has its turn now."""
        read = [block for block in blocks if block.topic in TOPICS]
        self._ends.update((TopicPartition(block.topic, block.partition), block.next_offset) for block in read)
        at_ms = now_ms - self._not_running_ms
        turn, seen = self._advance(read_rows(read), at_ms)
        if not blocks and not len(turn):
            return Output()
        released = accepted_rows([block for block in blocks if block.topic == catalogue.RELEASED])
        records = [*self._said(turn, seen, now_ms), *self._reinstated(released), *self._state(read, at_ms, now_ms)]
        self._transactions += 1
        return Output(records, self._metadata(at_ms))

    def _advance(self, rows: Rows, now_ms: int) -> tuple[Rows, Seen]:
        """Let the state go on. It depends on what is given here and on nothing else, so it can be done again."""
        self._replayed += len(rows)
        turn = self._waiting.take(rows, now_ms)
        return turn, self._detectors.see(turn, self.alarms.get)

    def _said(self, turn: Rows, seen: Seen, now_ms: int) -> Iterator[OutBlock]:
        """Yield alarms, and corrections of what was accepted, now and before."""
        before = StandingAlarms(self.alarms.standing()) if seen.bursts else self.alarms
        found = {number: self._pair(number, pair) for number, pair in seen.pairs.items()}
        told = [*self._orphans, *seen.bursts, *(alarm for alarm, _ in found.values())]
        self._orphans = []
        self.counts[SEEN] += len(turn)
        self.counts.update(f"alarms.{alarm.about}" for alarm in told if before.get(alarm.number) is None)
        self.alarms.tell(told)
        yield from self._alarm_records(told, now_ms)
        yield from self._corrected_now(turn, seen, {number for number, (_, steps) in found.items() if len(steps)})
        yield from self._corrected_before(turn, before, seen.bursts)
        for alarm, steps in found.values():
            yield from self._corrections(steps, LOCKSTEP, np.zeros(len(steps)), np.full(len(steps), alarm.number))
        yield from self._released(before, seen.bursts, now_ms)

    def _alarm_records(self, told: Sequence[Alarm], now_ms: int) -> Iterator[OutBlock]:
        """Yield a copy of every alarm for each partition number."""
        if not told:
            return
        keys = [str(alarm.number).encode() for alarm in told]
        values = [encode_record(catalogue.ALARMS, alarm.as_record()) for alarm in told]
        for partition in range(self._partitions):
            yield OutBlock(catalogue.ALARMS, partition, keys, values, [now_ms] * len(told))

    def _corrected_now(self, turn: Rows, seen: Seen, new_pairs: set[int]) -> Iterator[OutBlock]:
        """Yield corrections of events whose turn it is, but for the steps of pairs found now."""
        verdict = self.alarms.verdict(turn.events)
        if verdict is not None:
            rows = np.flatnonzero(verdict.keeps < 1.0)
            yield from self._corrections(turn.take(rows), BURST, verdict.keeps[rows], verdict.alarm[rows])
        rows = np.flatnonzero((seen.in_lockstep > 0) & ~np.isin(seen.in_lockstep, sorted(new_pairs)))
        yield from self._corrections(turn.take(rows), LOCKSTEP, np.zeros(len(rows)), seen.in_lockstep[rows])

    def _corrected_before(self, turn: Rows, before: StandingAlarms, told: Sequence[Alarm]) -> Iterator[OutBlock]:
        """Yield corrections of earlier events of which the alarms now say something else."""
        changed = [alarm for alarm in told if _acts_otherwise(before.get(alarm.number), alarm)]
        if not changed:
            return
        targets = fingerprints(pa.array(sorted({alarm.id for alarm in changed}))).low
        rows = self._earlier(targets, min(alarm.start_ms for alarm in changed), turn)
        was, now = before.verdict(rows.events), self.alarms.verdict(rows.events)
        keeps_was = np.ones(len(rows)) if was is None else was.keeps
        keeps = np.ones(len(rows)) if now is None else now.keeps
        numbers = np.zeros(len(rows), np.int64) if now is None else now.alarm
        other = np.flatnonzero(keeps_was != keeps)
        if (keeps[other] > keeps_was[other]).any():
            other = other[~self._rejected(rows.take(other)) | (keeps[other] < keeps_was[other])]
        yield from self._corrections(rows.take(other), BURST, keeps[other], numbers[other])

    def _rejected(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows a person decided never to let teach."""
        decisions = decided(self._log, 0)
        return np.array([decisions.get(str(place)) == "reject" for place in places(rows)], np.bool_)

    def _pair(self, number: int, pair: LockstepAlarm) -> tuple[Alarm, Rows]:
        """Return the alarm of two targets in lockstep and, when it is new, the later halves of the steps before."""
        known = self.alarms.get(number)
        if known is not None:
            return twins(number, pair, (known.id, known.other_id or "")), read_rows([])
        targets = np.array([pair.low, pair.other_low], np.uint64)
        lockstep_ms = self._settings.slow.lockstep_ms
        rows = self._earlier(targets, pair.start_ms - lockstep_ms, read_rows([]))
        alarm = twins(number, pair, (_target(rows, pair.low), _target(rows, pair.other_low)))
        return alarm, rows.take(later_halves(rows.events, lockstep_ms))

    def _earlier(self, targets: NDArray[np.uint64], since_ms: int, turn: Rows) -> Rows:
        return events_on(self._log, targets, since_ms, self._ends, concatenated([self._waiting.rows(), turn]))

    def _corrections(
        self, rows: Rows, cause: str, keeps: NDArray[np.float64], alarms: NDArray[np.int64]
    ) -> Iterator[OutBlock]:
        """Yield corrections of those rows that were accepted and that nobody released."""
        ids = rows.batch.column("event_id").to_pylist()
        free = np.array([each in self._exempt for each in ids], np.bool_)
        mine = np.flatnonzero((rows.topics == ACCEPTED) & ~rows.readmitted & ~free)
        self.counts[f"corrected.{cause}"] += len(mine)
        if len(mine):
            reasons = [self.alarms[number].reason if number else _TAKEN_BACK for number in alarms[mine].tolist()]
            yield from corrections(rows.take(mine), cause, keeps[mine], alarms[mine], reasons)

    def _released(self, before: StandingAlarms, told: Sequence[Alarm], now_ms: int) -> Iterator[OutBlock]:
        """Yield what was held since the onset of alarms that are over or have taken their word back, and that no alarm
        leaves without weight now; without what has been decided."""
        for target, why in sorted(_ended(before, told).items()):
            decisions = decided(self._log, why.start_ms)
            for block in held_by_alarms(self._log, target, why.start_ms, self._ends):
                rows = read_rows([block])
                verdict = self.alarms.verdict(rows.events)
                kept = np.ones(len(rows), np.bool_) if verdict is None else verdict.keeps > 0.0
                free = picked(block, kept & [str(place) not in decisions for place in places(rows)])
                if len(free):
                    self.counts[RELEASED] += len(free)
                    lie = [Place(free.topic, free.partition, offset) for offset in free.offsets]
                    yield OutBlock(catalogue.RELEASED, free.partition, free.keys, free.values, free.timestamps_ms)
                    yield release_notes(lie, ACTOR, f"alarm {why.number}: {why.reason}", now_ms)

    def _reinstated(self, rows: Rows) -> Iterator[OutBlock]:
        """Yield corrections that give accepted events back what alarms took, now and for good."""
        new = np.flatnonzero([each not in self._exempt for each in rows.batch.column("event_id").to_pylist()])
        for cause in (BURST, LOCKSTEP):
            yield from self._corrections(rows.take(new), cause, np.ones(len(new)), np.zeros(len(new), np.int64))
        self._exempt.update(rows.batch.column("event_id").to_pylist())

    def _state(self, read: Sequence[Block], at_ms: int, now_ms: int) -> Iterator[OutBlock]:
        """Yield the note of what was read, or a snapshot in its place when it is time for one."""
        settings = self._settings
        due = now_ms - self._snapshot_at_ms >= settings.snapshot_ms
        if not due and self._readings < settings.readings_max and self._replayed < settings.replayed_events_max:
            yield reading_record(self._snapshot, self._readings, read, at_ms, now_ms)
            self._readings += 1
            return
        self._snapshot, self._snapshot_at_ms = self._snapshot + 1, now_ms
        self._readings = self._replayed = 0
        waiting = [[*place] for place in places(self._waiting.rows())]
        yield snapshot_records(self._snapshot, self._tables(), waiting, now_ms)

    def _put_back(self, snapshot: bytes) -> None:
        try:
            waiting = unpacked(snapshot, self._tables())
        except ValueError as error:
            raise Corrupt(f"{catalogue.WATCH_STATE}[0]", str(error)) from error
        self._waiting.put_back(rows_at(self._log, [Place(*place) for place in waiting]))

    def _tables(self) -> Tables:
        waiting = {f"waiting.{name}": table for name, table in self._waiting.tables().items()}
        return {**self._detectors.tables(), **waiting}

    def _metadata(self, at_ms: int) -> str:
        facts = {
            "seq": self._transactions,
            "at": at_ms,
            "snapshot": self._snapshot,
            "readings": self._readings,
            "numbers_taken": self._numbers_taken,
            "counts": self.counts,
        }
        return json.dumps(facts, separators=(",", ":"))


_TAKEN_BACK = "no alarm takes weight from it any more"
_GONE = "(no longer in the log)"


def _target(rows: Rows, low: int) -> str:
    """Return the target with this fingerprint, as far as the log still has its events."""
    found = np.flatnonzero(rows.events.targets.low == np.uint64(low))
    return str(rows.batch.column("target_id")[int(found[0])].as_py()) if len(found) else _GONE


def _ended(before: StandingAlarms, told: Sequence[Alarm]) -> dict[str, Alarm]:
    """Return, by target, the earliest alarm that is over now or has taken its word back."""
    found: dict[str, Alarm] = {}
    for alarm in told:
        known = before.get(alarm.number)
        if alarm.dimension == TARGET and known is not None and (alarm.over or (known.acts and not alarm.acts)):
            found[alarm.id] = min(alarm, found.get(alarm.id, alarm), key=lambda each: each.start_ms)
    return found


def _acts_otherwise(before: Alarm | None, now: Alarm) -> bool:
    """Whether an alarm takes weight away from other events than before, or more or less of it."""
    if before is None or not before.acts or not now.acts:
        return now.acts or (before is not None and before.acts)
    return _reach(before) != _reach(now)


def _reach(alarm: Alarm) -> tuple[float, ...]:
    return alarm.keeps, alarm.start_ms, alarm.until_ms, alarm.side, alarm.middle
