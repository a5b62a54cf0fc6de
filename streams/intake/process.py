"""What intake does to blocks, of one partition number or of several at once: a call costs more than its records.

    decode > consent > validate > forward > drop duplicates > pseudonymise > score bursts > weigh > write

Consent comes before everything that looks at an event's contents. What needs memory is done partition by partition.
Nothing here knows Kafka or the clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import Failure
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.engine.stage import Output
from rheostat.streams.intake.alarms import read_alarms
from rheostat.streams.intake.arrivals import Arrivals, arrive
from rheostat.streams.intake.bursts import Events, Scores, unsuspicious
from rheostat.streams.intake.consent import withheld
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.deadletter import dead_letters
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.likeness import text_hashes
from rheostat.streams.intake.memory import Memory
from rheostat.streams.intake.normalise import certainties, entries
from rheostat.streams.intake.placement import as_written, places, rekeyed
from rheostat.streams.intake.pseudonymise import Pseudonymiser
from rheostat.streams.intake.released import enter
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.sources import Sources
from rheostat.streams.intake.strings import lengths_of
from rheostat.streams.intake.validate import faults
from rheostat.streams.intake.weigh import recency, weigh_among_others, weights
from rheostat.streams.intake.weigher import candidates
from rheostat.streams.intake.written import Groups, Written, grouped, write

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Owners = NDArray[np.int64]
"""Of which of the given partition numbers each row is."""


class Taken(NamedTuple):
    """What came of one partition number: the output, and the ledger entries that are in it."""

    output: Output
    accepted: Sequence[Written]


class Intake:
    """Turns feedback into ledger entries, quarantined events and dead letters; every event is accounted for."""

    def __init__(self, settings: IntakeSettings, partitions: int) -> None:
        self.settings = settings
        self.partitions = partitions
        self.sources = Sources(settings.sources)
        self._pseudonymiser = Pseudonymiser(settings.pseudonym_key, settings.pseudonym_epoch)

    def process(self, memories: Sequence[Memory], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Taken]:
        """Process the blocks of each partition number, given with what is remembered of it."""
        numbers = [own[0].partition if own else -1 for own in blocks]
        blocks = [_after_alarms(memory, own) for memory, own in zip(memories, blocks, strict=True)]
        released = [[block for block in own if block.topic == catalogue.RELEASED] for own in blocks]
        written = [
            [each for block in own if block.topic != catalogue.RELEASED for each in as_written(block)] for own in blocks
        ]
        given = list(itertools.chain.from_iterable(written))
        owner = np.repeat(np.arange(len(blocks)), list(map(len, written)))
        arrivals, undecoded = arrive(given, self.settings.record_bytes_max)
        refused = withheld(arrivals.batch)
        consented = arrivals.take((~refused).nonzero()[0])
        self.sources.observe(consented.batch.column("source"), consented.times_ms, now_ms)
        valid, invalid = self._valid(consented, given, now_ms)
        failures: list[list[tuple[int, Failure]]] = [[] for _ in blocks]
        for index, failure in sorted(undecoded + invalid):
            failures[owner[index]].append((index, failure))
        valid, moved = self._forward(valid, numbers, owner, given)
        ids = fingerprints(valid.batch.column("event_id"))
        fresh = _fresh(memories, owner[valid.block], ids)
        new = valid.take(fresh.nonzero()[0])
        accepted, held, corrections = self._written(memories, numbers, owner, new, ids.take(fresh), given, now_ms)
        withheld_by = _counted(owner, arrivals.block[refused], len(blocks))
        duplicate_by = _counted(owner, valid.block[~fresh], len(blocks))
        taken = []
        for number, (memory, own) in enumerate(zip(memories, blocks, strict=True)):
            entered = [accepted[number]] if number in accepted else []
            letters = dead_letters(numbers[number], given, failures[number], now_ms)
            counts = Counts(
                consumed=sum(map(len, own)),
                duplicate=duplicate_by[number],
                quarantined=len(held.get(number, ())),
                withheld=withheld_by[number],
                invalid=len(failures[number]),
                forwarded=sum(map(len, moved[number])),
            )
            records = [held[number].block] if number in held else []
            records += [corrections[number]] if number in corrections else []
            records += [*moved[number], *([letters] if letters else [])]
            if again := released[number]:
                found = enter(memory, numbers[number], again, self.settings.weights)
                entered += [found.entered] if found.entered else []
                records += [found.corrections] if found.corrections else []
                letters = dead_letters(numbers[number], again, found.failures, now_ms)
                records += [letters] if letters else []
                counts += Counts(
                    readmitted=sum(map(len, again)), duplicate=found.duplicates, invalid=len(found.failures)
                )
            memory.settle(counts + Counts(accepted=sum(map(len, entered))))
            output = Output([*(each.block for each in entered), *records], memory.metadata())
            taken.append(Taken(output, entered))
        return taken

    def _valid(
        self, arrivals: Arrivals, blocks: Sequence[Block], now_ms: int
    ) -> tuple[Arrivals, list[tuple[int, Failure]]]:
        """Return the events that keep the rules, and what is wrong with the others, by the index of their block."""
        wrong = faults(arrivals, self.settings, now_ms)
        if not wrong:
            return arrivals, []
        rows = np.array([each.row for each in wrong])
        starts = list(itertools.accumulate(map(len, blocks), initial=0))
        places = [(int(arrivals.block[each.row]), int(arrivals.at[each.row]), each) for each in wrong]
        failures = [(block, each._replace(row=at - starts[block])) for block, at, each in places]
        return arrivals.take(np.delete(np.arange(len(arrivals)), rows)), failures

    def _forward(
        self, events: Arrivals, numbers: Sequence[int], owner: Owners, blocks: Sequence[Block]
    ) -> tuple[Arrivals, list[list[OutBlock]]]:
        """Return the events that belong where they are, and for each partition number what is to be sent elsewhere."""
        moved: list[list[OutBlock]] = [[] for _ in numbers]
        belongs, of = places(events.batch, self.partitions), owner[events.block]
        elsewhere = belongs != np.array(numbers, np.int64)[of]
        if not elsewhere.any():
            return events, moved
        self.sources.forwarded(events.batch.column("source").filter(pa.array(elsewhere)))
        starts = np.fromiter(itertools.accumulate(map(len, blocks), initial=0), np.int64, len(blocks) + 1)
        for number in np.unique(of[elsewhere]).tolist():
            rows = np.flatnonzero(elsewhere & (of == number))
            own = events.take(rows)
            moved[number] = rekeyed(own.batch, belongs[rows], own.block, own.at - starts[own.block], blocks)
        return events.take(np.flatnonzero(~elsewhere)), moved

    def _written(
        self,
        memories: Sequence[Memory],
        numbers: Sequence[int],
        owner: Owners,
        new: Arrivals,
        ids: Fingerprints,
        blocks: Sequence[Block],
        now_ms: int,
    ) -> tuple[dict[int, Written], dict[int, Written], dict[int, OutBlock]]:
        """Score, weigh and encode new events; remember their ids.

        Returns what is accepted, what is held back, and corrections of what was accepted before.
        """
        if not len(new):
            return {}, {}, {}
        owner = owner[new.block]
        groups = grouped(owner)
        subjects = self._pseudonymiser.pseudonyms(new.batch.column("subject_id"))
        events = _events(new, subjects)
        scores, alarms = _scores(memories, groups, events)
        certainty = certainties(new)
        weight = weights(new.signals.weight, certainty, scores.suspicion, self.settings.bursts)
        weight *= recency(scores, new.times_ms, now_ms, self.settings.weights)
        batch = entries(new, blocks, subjects, certainty, weight, scores, alarms)
        held = scores.suspicion >= self.settings.bursts.quarantine_at
        if alarms is not None:
            held |= alarms > 0
        for number, rows in groups:
            memory = memories[number]
            for known, some in ((memory.accepted, rows[~held[rows]]), (memory.held, rows[held[rows]])):
                known.remember(ids.take(some), new.times_ms[some])
        batch, corrections = weigh_among_others(
            [memory.weigher for memory in memories],
            [(number, rows[~held[rows]]) for number, rows in groups],
            batch,
            candidates(batch, new.signals.codes, ids, events.actors),
            numbers,
            self.settings.weights,
        )
        if not held.any():
            return write(catalogue.LEDGER, batch, new, numbers, groups, blocks), {}, corrections
        good, bad = (
            write(topic, batch.take(pa.array(rows)), new.take(rows), numbers, grouped(owner[rows]), blocks)
            if len(rows)
            else {}
            for topic, rows in ((catalogue.LEDGER, (~held).nonzero()[0]), (catalogue.QUARANTINE, held.nonzero()[0]))
        )
        return good, bad, corrections


def _fresh(memories: Sequence[Memory], owner: Owners, ids: Fingerprints) -> Mask:
    """Return which rows are the first with their id."""
    fresh = np.empty(len(owner), np.bool_)
    for number, rows in grouped(owner):
        fresh[rows] = ~memories[number].duplicates(ids.take(rows))
    return fresh


def _after_alarms(memory: Memory, blocks: Sequence[Block]) -> list[Block]:
    """Take in alarms; return the other blocks."""
    for block in blocks:
        if block.topic == catalogue.ALARMS:
            memory.alarms.tell(read_alarms(block))
    return [block for block in blocks if block.topic != catalogue.ALARMS]


def _events(new: Arrivals, subjects: pa.StringArray) -> Events:
    """Return what bursts are told by."""
    targets = new.batch.column("target_id")
    return Events(
        fingerprints(targets),
        lengths_of(targets) > 0,
        fingerprints(subjects),
        lengths_of(subjects) > 0,
        new.signals.codes,
        new.signals.normalised,
        new.times_ms,
        text_hashes(new.batch.column("text")),
    )


def _scores(memories: Sequence[Memory], groups: Groups, events: Events) -> tuple[Scores, NDArray[np.int64] | None]:
    """Score each event among those of its partition number; return too which alarm holds it back (0: none), if any."""
    scores = unsuspicious(len(events))
    for number, rows in groups:
        scorer = memories[number].bursts
        if scorer is not None:
            scores.put(rows, scorer.score(events.take(rows)))
    return scores, _held_by(memories, groups, events, scores)


def _held_by(memories: Sequence[Memory], groups: Groups, events: Events, scores: Scores) -> NDArray[np.int64] | None:
    """Hold back what alarms leave no weight, and say so in the scores; return the number of the alarm of each event."""
    found: NDArray[np.int64] | None = None
    for number, rows in groups:
        alarms = memories[number].alarms
        verdict = alarms.verdict(events.take(rows))
        if verdict is None:
            continue
        found = np.zeros(len(events), np.int64) if found is None else found
        for each in np.unique(verdict.alarm[verdict.keeps == 0.0]).tolist():
            mine, alarm = rows[verdict.alarm == each], alarms[each]
            found[mine] = each
            suspicion = np.maximum(scores.suspicion[mine], alarm.suspicion)
            scores.put(mine, Scores(suspicion, [(np.arange(len(mine)), alarm.reason)]))
    return found


def _counted(owner: Owners, blocks: NDArray[np.int64], count: int) -> list[int]:
    """Return how many rows, given by their blocks, each owner has."""
    counts: list[int] = np.bincount(owner[blocks], minlength=count).tolist()
    return counts
