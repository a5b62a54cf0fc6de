"""Reading ahead of who is behind: while a large share of records is worked on, a thread takes the next one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event as Flag

import numpy as np

from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.kafka_messages import Deadline
from rheostat.streams.engine.kafka_native import Event, NativeConsumer, Run
from rheostat.streams.engine.packed import PackedBytes
from rheostat.streams.engine.packed_headers import PackedHeaders

MANY_RECORDS = 5_000
"""Whoever takes so many at once is behind. With fewer a thread costs more than it saves."""

_SLICE_MS = 5
_LONGEST_MS = 10_000
"""Nobody who is at work leaves a share for so long."""

Taken = tuple[list[Run], list[Event]]


class AheadConsumer:
    """A `NativeConsumer` that reads ahead; used from one thread in the same way.

    What was read ahead is delivered first, in order, unless its partition is not consumed any more by then.
    """

    def __init__(self, consumer: NativeConsumer) -> None:
        self._consumer = consumer
        self._thread = ThreadPoolExecutor(1, "rheostat-ahead")
        self._reading: Future[Taken] | None = None
        self._wanted = Flag()
        self._runs: list[Run] = []
        self._events: list[Event] = []

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin to consume partitions that are not consumed yet, at these offsets."""
        self._settle()
        self._consumer.assign(positions)

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop to consume partitions; what was fetched of them and not taken is dropped."""
        self._settle()
        gone = set(partitions)
        self._runs = [run for run in self._runs if run.at not in gone]
        self._consumer.unassign(gone)

    def take(self, records_max: int, timeout_ms: int, gather_ms: int = 0) -> Taken:
        """Return what `NativeConsumer.take` would."""
        self._settle()
        left = records_max - _records(self._runs)
        if left > 0:
            some = bool(self._runs or self._events)
            runs, events = self._consumer.take(left, 0 if some else timeout_ms, 0 if some else gather_ms)
            self._runs += runs
            self._events += events
        first, self._runs = _split(self._runs, records_max)
        events, self._events = self._events, []
        if _records(first) >= MANY_RECORDS:
            self._wanted.clear()
            self._reading = self._thread.submit(self._read, records_max - _records(self._runs))
        return _joined(first), events

    def high(self, at: TopicPartition) -> int:
        """Return the high watermark as last heard of; -1 before anything was fetched."""
        return self._consumer.high(at)

    def close(self) -> None:
        """Release everything."""
        self._settle()
        self._thread.shutdown()
        self._consumer.close()

    def _read(self, records_max: int) -> Taken:
        """Take until that many are there, or they are wanted."""
        runs: list[Run] = []
        events: list[Event] = []
        deadline = Deadline(_LONGEST_MS)
        while records_max > 0 and not self._wanted.is_set() and deadline.left_ms():
            taken, others = self._consumer.take(records_max, _SLICE_MS)
            runs += taken
            events += others
            records_max -= _records(taken)
        return runs, events

    def _settle(self) -> None:
        """Stop reading ahead, and keep what was read."""
        if self._reading is not None:
            self._wanted.set()
            runs, events = self._reading.result()
            self._reading = None
            self._runs += runs
            self._events += events


def _records(runs: Iterable[Run]) -> int:
    return sum(len(run.offsets) for run in runs)


def _split(runs: list[Run], count: int) -> tuple[list[Run], list[Run]]:
    """Return the first so many records, and the rest."""
    first: list[Run] = []
    for place, run in enumerate(runs):
        if count < len(run.offsets):
            cut = [run.rows(0, count)] if count else []
            return [*first, *cut], [run.rows(count, len(run.offsets)), *runs[place + 1 :]]
        first.append(run)
        count -= len(run.offsets)
    return first, []


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Return one run for each partition."""
    of_partition: dict[TopicPartition, list[Run]] = {}
    for run in runs:
        of_partition.setdefault(run.at, []).append(run)
    return [own[0] if len(own) == 1 else _one(own) for own in of_partition.values()]


def _one(runs: list[Run]) -> Run:
    headers = [PackedHeaders.none(len(run.offsets)) if run.headers is None else run.headers for run in runs]
    return Run(
        runs[0].at,
        np.concatenate([run.offsets for run in runs]),
        PackedBytes.joined([run.keys for run in runs]),
        PackedBytes.joined([run.values for run in runs]),
        np.concatenate([run.timestamps_ms for run in runs]),
        None if all(run.headers is None for run in runs) else PackedHeaders.joined(headers),
    )
