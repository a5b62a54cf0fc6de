"""The intake stage: three feedback topics in; ledger, quarantine and dead letters out, at the same partition number.

    decode > consent > validate > pseudonymise > drop duplicates > score bursts > weigh > write

Consent comes before everything that looks at an event's contents. Nothing here knows Kafka or the clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import Failure, encode_block
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import Log, Output
from rheostat.streams.intake.arrivals import Arrivals, arrive
from rheostat.streams.intake.bursts import Events, Scores, unsuspicious
from rheostat.streams.intake.consent import withheld
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.deadletter import dead_letters
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.memory import Memory, restored_memory
from rheostat.streams.intake.normalise import certainties, entries
from rheostat.streams.intake.placement import misplaced
from rheostat.streams.intake.pseudonymise import Pseudonymiser
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.validate import faults
from rheostat.streams.intake.weigh import weights

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


class IntakeTask:
    """Intake of one partition number."""

    def __init__(self, settings: IntakeSettings, memory: Memory, partitions: Mapping[str, int]) -> None:
        self._settings = settings
        self._memory = memory
        self._partitions = partitions
        self._pseudonymiser = Pseudonymiser(settings.pseudonym_key, settings.pseudonym_epoch)

    @property
    def counts(self) -> Counts:
        """What became of all events of this partition so far, restarts included."""
        return self._memory.counts

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Turn feedback into ledger entries, quarantined events and dead letters; every event is accounted for."""
        arrivals, undecoded = arrive(blocks, self._settings.record_bytes_max)
        refused = withheld(arrivals.batch)
        usable, failures = self._valid(arrivals.take((~refused).nonzero()[0]), blocks, now_ms)
        failures = [(index, each) for index, part in enumerate(undecoded) for each in part] + failures
        ids = fingerprints(usable.batch.column("event_id"))
        duplicate = self._memory.duplicates(ids)
        fresh = (~duplicate).nonzero()[0]
        records, quarantined = self._written(usable.take(fresh), ids.take(fresh), blocks)
        letters = dead_letters(blocks, failures, now_ms)
        self._count(
            Counts(
                consumed=sum(map(len, blocks)),
                accepted=len(fresh) - quarantined,
                duplicate=len(ids.low) - len(fresh),
                quarantined=quarantined,
                withheld=int(np.count_nonzero(refused)),
                invalid=len(failures),
                misplaced=misplaced(blocks, self._partitions),
            )
        )
        return Output([*records, letters] if letters else records, self._memory.metadata())

    def _valid(
        self, arrivals: Arrivals, blocks: Sequence[Block], now_ms: int
    ) -> tuple[Arrivals, list[tuple[int, Failure]]]:
        """Return the events that keep the rules, and what is wrong with the others, by the index of their block."""
        wrong = faults(arrivals, self._settings, now_ms)
        if not wrong:
            return arrivals, []
        rows = np.array([each.row for each in wrong])
        starts = list(itertools.accumulate(map(len, blocks), initial=0))
        places = [(int(arrivals.block[each.row]), int(arrivals.at[each.row]), each) for each in wrong]
        failures = [(block, each._replace(row=at - starts[block])) for block, at, each in places]
        return arrivals.take(np.delete(np.arange(len(arrivals)), rows)), failures

    def _written(self, arrivals: Arrivals, ids: Fingerprints, blocks: Sequence[Block]) -> tuple[list[OutBlock], int]:
        """Score, weigh and encode new events; remember their ids. Returns the output and how many are quarantined."""
        if not len(arrivals):
            return [], 0
        subjects = self._pseudonymiser.pseudonyms(arrivals.batch.column("subject_id"))
        scores = self._scores(arrivals, subjects)
        certainty = certainties(arrivals)
        weight = weights(arrivals.signals.weight, certainty, scores.suspicion, self._settings.bursts)
        batch = entries(arrivals, blocks, subjects, certainty, weight, scores.suspicion, scores.reasons)
        held = scores.suspicion >= self._settings.bursts.quarantine_at
        written = []
        for topic, known, mask in (
            (catalogue.LEDGER, self._memory.accepted, ~held),
            (catalogue.QUARANTINE, self._memory.held, held),
        ):
            rows = mask.nonzero()[0]
            if len(rows):
                known.remember(ids.take(rows), arrivals.times_ms[rows])
                written.append(_out(topic, batch, arrivals, rows, blocks))
        return written, int(np.count_nonzero(held))

    def _scores(self, arrivals: Arrivals, subjects: pa.StringArray) -> Scores:
        if self._memory.bursts is None:
            return unsuspicious(len(arrivals))
        signals = arrivals.signals
        targets = arrivals.batch.column("target_id")
        return self._memory.bursts.score(
            Events(targets, subjects, signals.codes, signals.normalised, arrivals.times_ms)
        )

    def _count(self, counts: Counts) -> None:
        memory = self._memory
        memory.transactions += 1
        evicted = memory.accepted.take_evicted() + memory.held.take_evicted()
        memory.counts += replace(counts, dedup_evicted=evicted)
        if memory.counts.imbalance:
            raise AssertionError(f"intake lost or invented events: {memory.counts}")


class IntakeStage:
    """Intake as the engine runs it; see `streams.engine.stage.Stage`."""

    def __init__(self, settings: IntakeSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        """`intake`."""
        return "intake"

    @property
    def sources(self) -> tuple[str, ...]:
        """The three feedback topics."""
        return catalogue.FEEDBACK

    @property
    def assignment(self) -> Literal["group", "static"]:
        """Partitions are shared out by the consumer group."""
        return "group"

    @property
    def tick_ms(self) -> int | None:
        """Intake does nothing while nothing arrives."""
        return None

    def open(
        self,
        partitions: Sequence[int],
        committed: Mapping[TopicPartition, Committed],
        log: Log,
        now_ms: int,
    ) -> IntakeTask:
        """Rebuild the state of one partition number from ledger, quarantine and commit metadata."""
        (partition,) = partitions
        memory = restored_memory(self._settings, partition, committed, log, now_ms)
        return IntakeTask(self._settings, memory, {topic: log.partitions(topic) for topic in self.sources})


def _out(topic: str, batch: pa.RecordBatch, arrivals: Arrivals, rows: Rows, blocks: Sequence[Block]) -> OutBlock:
    """Encode some rows under their original keys, stamped with the time they occurred."""
    if len(rows) < len(arrivals):
        batch, arrivals = batch.take(pa.array(rows)), arrivals.take(rows)
    return OutBlock(
        topic,
        blocks[0].partition,
        _keys(arrivals, blocks),
        encode_block(topic, batch),
        arrivals.times_ms.tolist(),
    )


def _keys(arrivals: Arrivals, blocks: Sequence[Block]) -> Sequence[bytes | None]:
    keys = blocks[0].keys if len(blocks) == 1 else list(itertools.chain.from_iterable(each.keys for each in blocks))
    return keys if len(keys) == len(arrivals) else list(map(keys.__getitem__, arrivals.at.tolist()))
