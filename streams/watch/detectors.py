"""What the watch looks for: bursts by target, subject, source and segment, and targets in lockstep.

Only bursts on a target take weight away: that a source or a segment gives far more than usual is a fact worth an alarm,
but no reason to doubt each of its events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.streams.intake.alarms import LOCKSTEP, SLOW_BURST, TARGET, Alarm
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.lockstep import Lockstep, LockstepAlarm
from rheostat.streams.intake.settings import SlowBurstSettings
from rheostat.streams.intake.slow_alarm import SlowAlarm
from rheostat.streams.intake.slow_bursts import SlowBursts
from rheostat.streams.intake.strings import lengths_of
from rheostat.streams.watch.rows import Rows
from rheostat.streams.watch.settings import WatchSettings

DIMENSIONS = {TARGET: "target_id", "subject": "subject", "source": "source", "segment": "segment"}
"""What bursts are looked for by, and the field that says it."""

_WHERE = {TARGET: "on this target", "subject": "from this subject", "source": "from this source",
          "segment": "in this segment"}  # fmt: skip
_KINDS = (*DIMENSIONS, LOCKSTEP)
_ODD = np.uint64(1)

Known = Callable[[int], Alarm | None]
"""Returns an alarm that was told before, by its number."""


class Seen(NamedTuple):
    """What was seen in a run of events.

    bursts: alarms raised or revised, as they stand afterwards. pairs: targets in lockstep, found or revised, by the
    number of the alarm.
    in_lockstep: which events are the later half of a step of such a pair, by the number of its alarm (0: none).
    """

    bursts: list[Alarm]
    pairs: dict[int, LockstepAlarm]
    in_lockstep: NDArray[np.int64]


class Detectors:
    """All detectors, over all partitions. Deterministic in the order of events."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings.slow
        self._bursts = {name: SlowBursts(settings.of_dimension(name)) for name in DIMENSIONS}
        self._lockstep = Lockstep(settings.slow)

    @property
    def unwatched(self) -> int:
        """Events on targets for which there was no place."""
        return self._bursts[TARGET].unwatched

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return all that is known, as the arrays in use: to be kept, and to be filled again."""
        named: dict[str, SlowBursts | Lockstep] = {**self._bursts, LOCKSTEP: self._lockstep}
        return {f"{name}.{table}": array for name, each in named.items() for table, array in each.tables().items()}

    def number_from(self, taken: int) -> None:
        """Let no alarm have a number up to this one."""
        for each in self._bursts.values():
            each.number_from(taken // len(_KINDS) + 1)
        self._lockstep.number_from(taken // len(_KINDS) + 1)

    def see(self, rows: Rows, known: Known) -> Seen:
        """Take in events in their order. What was seen in quarantine before is not counted again."""
        seen = np.zeros(len(rows), np.int64)
        new = np.flatnonzero(~rows.readmitted)
        if not len(new):
            return Seen([], {}, seen)
        rows = rows.take(new)
        alarms: dict[int, Alarm] = {}
        for dimension, field in DIMENSIONS.items():
            column = rows.batch.column(field)
            ids = fingerprints(column)
            events = replace(rows.events, targets=ids, targeted=lengths_of(column) > 0)
            for told in self._bursts[dimension].score(events).alarms:
                number = _number(told.number, dimension)
                before = known(number)
                name = _name(column, ids, told.low, told.high) if before is None else before.id
                alarms[number] = _burst(told, number, dimension, name, self._settings)
        steps = self._lockstep.score(rows.events)
        seen[new] = np.where(steps.in_lockstep, _number(1, LOCKSTEP) + (steps.pair - 1) * len(_KINDS), 0)
        return Seen(list(alarms.values()), {_number(pair.number, LOCKSTEP): pair for pair in steps.alarms}, seen)


def _number(number: int, kind: str) -> int:
    """Number the alarms of all kinds apart."""
    return number * len(_KINDS) + _KINDS.index(kind)


def _name(column: pa.StringArray, ids: Fingerprints, low: int, high: int) -> str:
    """Return the string with this fingerprint, of which the lowest bit may have been set; it is there."""
    rows = np.flatnonzero(((ids.low | _ODD) == np.uint64(low | 1)) & (ids.high == np.uint64(high)))
    return str(column[int(rows[0])].as_py())


def _burst(told: SlowAlarm, number: int, dimension: str, name: str, settings: SlowBurstSettings) -> Alarm:
    keeps = 1.0
    if dimension == TARGET and told.suspicion >= settings.downweight_at:
        keeps = 0.0 if told.suspicion >= settings.quarantine_at else 1.0 - told.suspicion
    return Alarm(
        number=number,
        kind=SLOW_BURST,
        dimension=dimension,
        id=name,
        other_id=None,
        start_ms=told.start_ms,
        end_ms=told.end_ms,
        detected_ms=told.detected_ms,
        over=told.over,
        score=told.score,
        suspicion=told.suspicion,
        keeps=keeps,
        side=told.side,
        middle=told.middle,
        reason=told.told(_WHERE[dimension], acts=dimension == TARGET),
    )


def twins(number: int, pair: LockstepAlarm, names: tuple[str, str]) -> Alarm:
    """Return the alarm about two targets in lockstep."""
    return Alarm(
        number=number,
        kind=LOCKSTEP,
        dimension=TARGET,
        id=names[0],
        other_id=names[1],
        start_ms=pair.start_ms,
        end_ms=pair.end_ms,
        detected_ms=pair.detected_ms,
        over=False,
        score=float(pair.steps),
        suspicion=1.0,
        keeps=0.0,
        side=0.0,
        middle=0.0,
        reason=pair.reason,
    )
