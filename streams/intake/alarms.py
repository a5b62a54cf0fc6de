"""Alarms of the watch, as they stand: which events they make suspicious.

An alarm is about one target, the events since its onset (until its end, once it is over), and the values on its
suspicious side. It says itself what share of their weight these events keep; intake holds back what keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.intake.bursts import Events
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints

SLOW_BURST, LOCKSTEP = "slow_burst", "lockstep"
TARGET = "target"
ALARMS_MAX = 10_000
"""Alarms that are kept in mind; beyond, those that ended first are forgotten."""

_FOREVER_MS = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it stands; the fields are those of `feedback.alarms`, times in epoch ms."""

    number: int
    kind: str
    dimension: str
    id: str
    other_id: str | None
    start_ms: int
    end_ms: int
    detected_ms: int
    over: bool
    score: float
    suspicion: float
    keeps: float
    side: float
    middle: float
    reason: str

    @property
    def until_ms(self) -> int:
        """The first moment that it does not concern."""
        return self.end_ms if self.over else _FOREVER_MS

    @property
    def about(self) -> str:
        """What it is about, in a word."""
        return LOCKSTEP if self.kind == LOCKSTEP else self.dimension

    @property
    def acts(self) -> bool:
        """Whether it takes weight away from what happens on its target."""
        return self.keeps < 1.0 and self.kind == SLOW_BURST and self.dimension == TARGET

    def as_record(self) -> dict[str, Any]:
        """Return the record of `feedback.alarms`."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {_FIELD_OF.get(name, name): value for name, value in given.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Alarm:
        """Read a record of `feedback.alarms`; its times are numbers."""
        return cls(**{name: record[_FIELD_OF.get(name, name)] for name in cls.__slots__})


_FIELD_OF = {"start_ms": "start_at", "end_ms": "end_at", "detected_ms": "detected_at"}


def read_alarms(block: Block) -> list[Alarm]:
    """Return the alarms of a block."""
    return [Alarm.from_record(decode_record(catalogue.ALARMS, value)) for value in block.values]


def alarms_read(log: Log, partition: int, committed: Mapping[TopicPartition, Committed]) -> StandingAlarms:
    """Return the alarms of a partition's copy up to the committed position."""
    position = committed.get(TopicPartition(catalogue.ALARMS, partition))
    if position is None or not position.offset:
        return StandingAlarms()
    return alarms_told(log, partition, position.offset)


def alarms_told(log: Log, partition: int, end_offset: int | None = None) -> StandingAlarms:
    """Return the alarms of a partition's copy, up to an offset or all."""
    blocks = log.read(catalogue.ALARMS, partition, end_offset=end_offset)
    return StandingAlarms(alarm for block in blocks for alarm in read_alarms(block))


class Verdict(NamedTuple):
    """What alarms say of each event: the share of its weight it keeps, and the number of the alarm (0: none)."""

    keeps: NDArray[np.float64]
    alarm: NDArray[np.int64]


class StandingAlarms:
    """All alarms that are known, by number; of two with the same number the one told later holds."""

    def __init__(self, alarms: Iterable[Alarm] = ()) -> None:
        self._known: dict[int, Alarm] = {}
        self._acting: tuple[list[Alarm], Fingerprints, NDArray[np.uint64]] | None = None
        self.tell(alarms)

    def __getitem__(self, number: int) -> Alarm:
        return self._known[number]

    def get(self, number: int) -> Alarm | None:
        """Return an alarm, if it is known."""
        return self._known.get(number)

    def standing(self) -> Sequence[Alarm]:
        """Return all, by number."""
        return [self._known[number] for number in sorted(self._known)]

    def tell(self, alarms: Iterable[Alarm]) -> None:
        """Take in alarms in the order in which they were told."""
        for alarm in alarms:
            self._known[alarm.number] = alarm
            self._acting = None
        if len(self._known) > ALARMS_MAX:
            first = sorted(self._known.values(), key=lambda each: (each.until_ms, each.number))
            for alarm in first[: len(first) - ALARMS_MAX]:
                del self._known[alarm.number]

    def verdict(self, events: Events) -> Verdict | None:
        """Return what the alarms say of events; None where they say nothing of any."""
        alarms, targets, lows = self._index()
        if not alarms or not len(events):
            return None
        near = np.flatnonzero(np.isin(events.targets.low, lows) & events.targeted)
        if not len(near):
            return None
        verdict = Verdict(np.ones(len(events)), np.zeros(len(events), np.int64))
        on = events.take(near)
        for place in np.flatnonzero(np.isin(targets.low, on.targets.low)).tolist():
            alarm = alarms[place]
            mine = (on.targets.low == targets.low[place]) & (on.targets.high == targets.high[place])
            mine &= (on.times_ms >= alarm.start_ms) & (on.times_ms < alarm.until_ms)
            mine &= alarm.side * (on.values - alarm.middle) >= 0.0
            rows = near[mine & (alarm.keeps < verdict.keeps[near])]
            verdict.keeps[rows], verdict.alarm[rows] = alarm.keeps, alarm.number
        return verdict if verdict.alarm.any() else None

    def _index(self) -> tuple[list[Alarm], Fingerprints, NDArray[np.uint64]]:
        if self._acting is None:
            alarms = [alarm for alarm in self.standing() if alarm.acts]
            targets = fingerprints(pa.array([alarm.id for alarm in alarms], pa.string()))
            self._acting = (alarms, targets, np.unique(targets.low))
        return self._acting
