"""Opens the tasks of a stage, some at a time: while one waits for the log, another works.

Some may be opened ahead, before their partitions are assigned: a worker that comes back after a crash has to wait until
its group misses the dead one, and that time is as long as a restore. A task is a function of committed positions and
the log, so one that was opened ahead is as good as a new one if and only if the positions are still the same.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import NamedTuple

from rheostat.streams.clock import Clock
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.stage import Log, Stage, Task

Positions = Mapping[TopicPartition, Committed]
"""What a task is opened for: all partitions it reads, and where each stands."""


class Opened(NamedTuple):
    """A task, and its share of the time in which it was opened along with others, in seconds."""

    task: Task
    seconds: float


class _Ahead(NamedTuple):
    positions: Positions
    opened: Future[Opened]


class Opener:
    """Opens tasks of one stage, at most `at_once` at a time, and as many ahead of their assignment."""

    def __init__(self, stage: Stage, log: Log, clock: Clock, at_once: int) -> None:
        self._stage = stage
        self._log = log
        self._clock = clock
        self._at_once = at_once
        self._ahead: dict[int, _Ahead] = {}

    @property
    def ahead(self) -> Collection[int]:
        """The keys of tasks that were opened ahead and not asked for yet, or are being opened."""
        return self._ahead.keys()

    def open_ahead(self, positions: Mapping[int, Positions]) -> None:
        """Begin to open tasks that will probably be asked for. Returns at once; errors are those of `open`."""
        threads = self._threads("ahead")
        for key, own in positions.items():
            self._ahead[key] = _Ahead(own, threads.submit(self._open, own, len(positions)))
        threads.shutdown(wait=False)

    def open(self, positions: Mapping[int, Positions]) -> dict[int, Opened]:
        """Open a task for each key, or take the one that was opened ahead at the same positions."""
        taken = {key: begun for key, own in positions.items() if (begun := self._take(key, own)) is not None}
        opened = self._open_all({key: own for key, own in positions.items() if key not in taken})
        return opened | {key: begun.result() for key, begun in taken.items()}

    def give_up_but(self, keys: Collection[int]) -> None:
        """Forget what was opened ahead under other keys; what is being opened is finished for nothing."""
        for key in self._ahead.keys() - set(keys):
            self._ahead.pop(key).opened.cancel()

    def _take(self, key: int, positions: Positions) -> Future[Opened] | None:
        ahead = self._ahead.pop(key, None)
        if ahead is None:
            return None
        if ahead.positions == positions:
            return ahead.opened
        ahead.opened.cancel()
        return None

    def _open_all(self, positions: Mapping[int, Positions]) -> dict[int, Opened]:
        if len(positions) <= 1:
            return {key: self._open(own, 1) for key, own in positions.items()}
        with self._threads("open") as threads:
            opened = threads.map(self._open, positions.values(), repeat(len(positions)))
            return dict(zip(positions, opened, strict=True))

    def _open(self, positions: Positions, of: int) -> Opened:
        started = time.perf_counter()
        numbers = sorted({each.partition for each in positions})
        task = self._stage.open(numbers, positions, self._log, self._clock.now_ms())
        return Opened(task, (time.perf_counter() - started) / min(of, self._at_once))

    def _threads(self, doing: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._at_once, f"{doing}-{self._stage.name}")
