"""Tasks opened ahead of their assignment: as good as new ones while the committed positions are the same."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest

from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.opening import Opener, Positions
from rheostat.streams.engine.stage import Log
from tests.support.copy_stage import CopyStage, CopyTask


@dataclass(frozen=True, slots=True)
class GatedStage(CopyStage):
    """Opens nothing until its gate is open; a partition number in `broken` cannot be opened."""

    gate: Event = field(default_factory=Event)
    begun: list[int] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> CopyTask:
        self.begun.extend(partitions)
        assert self.gate.wait(10)
        if self.broken.intersection(partitions):
            raise ValueError(f"{partitions} cannot be opened")
        return CopyTask("out", 0)


def at(offset: int, *numbers: int) -> dict[int, Positions]:
    """The same position in each of these partitions."""
    return {number: {TopicPartition("in", number): Committed(offset, "")} for number in numbers}


@contextmanager
def gated(at_once: int = 2) -> Iterator[tuple[GatedStage, Opener]]:
    clock = ManualClock()
    stage = GatedStage()
    try:
        yield stage, Opener(stage, MemoryBroker(clock).log(), clock, at_once)
    finally:
        stage.gate.set()


def test_what_was_opened_ahead_is_not_opened_again_whether_it_is_ready_or_not() -> None:
    with gated(at_once=4) as (stage, opener):
        opener.open_ahead(at(5, 0, 1, 2))
        assert set(opener.ahead) == {0, 1, 2}
        stage.gate.set()
        first = opener.open(at(5, 0))[0]
        rest = opener.open(at(5, 1, 2, 3))
        assert sorted(stage.begun) == [0, 1, 2, 3]
        assert sorted(rest) == [1, 2, 3]
        assert len({id(each.task) for each in (first, *rest.values())}) == 4
        assert not opener.ahead


@pytest.mark.parametrize("position", [Committed(6, ""), Committed(5, "later")])
def test_at_other_positions_it_is_opened_anew(position: Committed) -> None:
    with gated() as (stage, opener):
        stage.gate.set()
        opener.open_ahead(at(5, 0))
        opener.open({0: {TopicPartition("in", 0): position}})
        assert stage.begun == [0, 0]
        assert not opener.ahead


def test_an_error_is_that_of_who_asks_for_the_task_and_of_nobody_else() -> None:
    with gated() as (stage, opener):
        stage.gate.set()
        stage.broken.update((0, 1))
        opener.open_ahead(at(5, 0, 1))
        with pytest.raises(ValueError, match=r"\[0\] cannot"):
            opener.open(at(5, 0))
        stage.broken.clear()
        assert list(opener.open(at(6, 1))) == [1]


def test_what_is_given_up_is_not_begun_any_more_and_opened_when_it_is_asked_for() -> None:
    with gated(at_once=1) as (stage, opener):
        opener.open_ahead(at(5, 0, 1, 2))
        opener.give_up_but([1])
        assert list(opener.ahead) == [1]
        stage.gate.set()
        assert sorted(opener.open(at(5, 0, 1, 2))) == [0, 1, 2]
        assert stage.begun.count(2) == 1
        assert stage.begun.count(1) == 1


def test_tasks_share_the_time_in_which_they_were_opened() -> None:
    with gated() as (stage, opener):
        stage.gate.set()
        began = time.perf_counter()
        shares = [each.seconds for each in opener.open(at(5, 0, 1, 2, 3)).values()]
        assert 0 < sum(shares) <= time.perf_counter() - began
