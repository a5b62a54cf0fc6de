"""Intake and join as one stage: one transaction, one hop less between a click and the model that learned it.

The two are co-partitioned, so what intake accepts is handed to the join as it is, besides being written to the ledger.
Everything in the ledger was joined by the transaction that wrote it, so the ledger is no source of this stage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log, Output, Task
from rheostat.streams.intake.process import Taken
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage, IntakeTask, take_in
from rheostat.streams.join.arrivals import Entries
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage, JoinTask, join, of_topic

INTAKE, JOIN = "intake", "join"
_OF_JOIN = (catalogue.PREDICTIONS, catalogue.CORRECTIONS)


class IntakeJoinTask:
    """Intake and join of one partition number."""

    def __init__(self, intake: IntakeTask, join: JoinTask) -> None:
        self.intake = intake
        self.join = join

    @property
    def books(self) -> Mapping[str, Mapping[str, int]]:
        """The books of both, by name."""
        return {**self.intake.books, **self.join.books}

    @property
    def waiting_bytes(self) -> Mapping[str, int]:
        """What the join keeps in memory and on disk."""
        return self.join.waiting_bytes

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Process the blocks of this partition number alone."""
        return _process([self], [blocks], now_ms)[0]


class IntakeJoinStage:
    """Both stages as the engine runs them; see `streams.engine.stage.Stage`."""

    name = "intake-join"
    sources = (*IntakeStage.sources, *_OF_JOIN)
    assignment: Literal["group"] = "group"
    tick_ms = None

    def __init__(self, intake: IntakeSettings, join: JoinSettings) -> None:
        self._intake = IntakeStage(intake)
        self._join = JoinStage(join)

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> IntakeJoinTask:
        """Rebuild the state of both from what the last transaction committed."""
        newest = _newest_metadata(committed)
        feedback = {at: each for at, each in committed.items() if at.topic not in _OF_JOIN}
        predictions = {at: each for at, each in committed.items() if at.topic in _OF_JOIN}
        return IntakeJoinTask(
            self._intake.open(partitions, _with_metadata(feedback, newest.get(INTAKE)), log, now_ms),
            self._join.open(partitions, _with_metadata(predictions, newest.get(JOIN)), log, now_ms),
        )

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Take in the blocks of all tasks together, then join each."""
        return _process([task for task in tasks if isinstance(task, IntakeJoinTask)], blocks, now_ms)


def _process(tasks: Sequence[IntakeJoinTask], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
    feedback = [[block for block in own if block.topic not in _OF_JOIN] for own in blocks]
    predictions, corrections = (of_topic(blocks, topic) for topic in _OF_JOIN)
    taken = take_in([task.intake for task in tasks], feedback, now_ms)
    entries = [_entries(each) for each in taken]
    joined = join([task.join for task in tasks], predictions, entries, corrections, now_ms)
    return [_one(each.output, other) for each, other in zip(taken, joined, strict=True)]


def _entries(taken: Taken) -> list[Entries]:
    return [Entries(each.entries(), each.times_ms(), each.block.values) for each in taken.accepted]


def _one(taken: Output, joined: Output) -> Output:
    # Both metadata are JSON.
    return Output([*taken.records, *joined.records], f'{{"{INTAKE}":{taken.metadata},"{JOIN}":{joined.metadata}}}')


def _newest_metadata(committed: Mapping[TopicPartition, Committed]) -> dict[str, Any]:
    """Return what the last transaction committed; only the topics it read from carry it."""
    found: list[dict[str, Any]] = [json.loads(each.metadata) for each in committed.values() if each.metadata]
    return max(found, key=lambda each: int(each[INTAKE]["seq"]), default={})


def _with_metadata(committed: Mapping[TopicPartition, Committed], part: Any) -> dict[TopicPartition, Committed]:
    metadata = "" if part is None else json.dumps(part)
    return {at: Committed(each.offset, metadata) for at, each in committed.items()}
