"""Scores bursts of events on one target: how suspicious is each event, and why.

A rate alone is no evidence of an attack: a launch is a burst too. Suspicion is a product of three shares:

    rate       how improbable the events of this and the previous second are at twice the target's usual rate r:
               Chernoff's bound of the Poisson tail, nats = n log(n / 2r) - n + 2r, full at 12 nats (p < 1e-5)
    newcomers  the share of events from actors with little history, less the share usual in this partition, over 0.7
    agreement  0.6 + 0.4 x (how far the mean value lies from what is usual for these kinds, of how far it could);
               for an event whose text is a copy, at least 0.6 + 0.4 x the share of copies among the texts

so a flash crowd of established actors scores near 0, newcomers with mixed opinions are down-weighted, and newcomers
who all say the same, by their values or word for word, are held. A copy is a text nearly the same as one of the
target's last 16 (`copies.py`), if somebody else wrote that in the same or the previous second; of fewer than 4 texts
nothing is said. Texts are in no output, so after a restart those of the last two seconds are not known; nothing else
that is learned depends on them. History counts events on calm targets only: a brigade earns none by its own burst.
Each event is scored with those before it on its target, by event time; how events are cut into blocks does not matter.
Limits: a brigade of aged accounts, or one small beside the target's own rate, is not seen; while nearly all actors
are new (the first thousands of events) nothing is suspicious; parts of a burst in other partitions are not summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.compiled import BOOLS, FLOATS, INTS, LONGS, WORDS, compiled
from rheostat.streams.intake.copies import TEXTS_TYPE, count_texts, texts_table, write_text
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.likeness import Words
from rheostat.streams.intake.reasons import add_reasons
from rheostat.streams.intake.settings import BurstSettings
from rheostat.streams.intake.strings import lengths_of
from rheostat.streams.intake.targets import TARGET_TYPE, advance, claim, expect_target, target_table
from rheostat.streams.prefetch import prefetch

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

_WINDOW_S = 2
_NATS_FULL = 12.0
_NEWCOMERS_FULL = 0.7
_AGREEMENT_SHARE = 0.4
_HISTORY_MAX = 2**16 - 1
"""What a count of an actor's events can reach; far more than `actor_events_min` may be."""
_TEXTS_MIN = 4
_TARGETS_A_TEXT_SLOT = 8
_FIRST_EVENTS = 200.0
_USUAL_EVENTS = 2_000.0
"""Events over which the partition's usual share of newcomers and usual values are averaged."""

_NEWCOMERS, _CALM_EVENTS, _RECORDED = range(3)
"""Places in the scorer's numbers: the usual share of newcomers, calm events so far, and those since the last fading."""

_COUNT, _FRESH, _VALUE, _USUAL, _RATE, _TEXTS, _COPIES = range(7)
"""Columns of what is known of an event's target: sums over the window, the usual rate a second, and its last texts."""


_AHEAD = 12
"""Rows before it is looked at that what an event needs begins to be fetched."""

_NO_TEXTS = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Events:
    """What the score depends on; one row each.

    targets: not scored where `targeted` is false. actors: fingerprints of pseudonyms; one that is not `known` is
    anonymous and never has any history. texts: their SimHashes, 0 for none; None where no event has any.
    """

    targets: Fingerprints
    targeted: Mask
    actors: Fingerprints
    known: Mask
    kinds: NDArray[np.int32]
    values: Floats
    times_ms: Longs
    texts: Words | None = None

    def __len__(self) -> int:
        return len(self.times_ms)

    def take(self, rows: NDArray[np.intp]) -> Events:
        """Return some rows, in this order."""
        if len(rows) == len(self) and (np.diff(rows) == 1).all():
            return self
        return Events(
            self.targets.take(rows),
            self.targeted[rows],
            self.actors.take(rows),
            self.known[rows],
            self.kinds[rows],
            self.values[rows],
            self.times_ms[rows],
            None if self.texts is None else self.texts[rows],
        )


def events_of(
    targets: pa.StringArray, actors: pa.StringArray, kinds: NDArray[np.int32], values: Floats, times_ms: Longs
) -> Events:
    """Return events without texts by columns of strings; an empty string is none."""
    targeted, known = lengths_of(targets) > 0, lengths_of(actors) > 0
    return Events(fingerprints(targets), targeted, fingerprints(actors), known, kinds, values, times_ms)


def joined(parts: Sequence[Events]) -> Events:
    """Return the events of several runs as one, one behind the other, without their texts."""
    targets, actors = (
        Fingerprints(*(np.concatenate([getattr(part, name)[half] for part in parts]) for half in range(2)))
        for name in ("targets", "actors")
    )
    rest = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("targeted", "known", "kinds", "values", "times_ms")
    }
    return Events(targets=targets, actors=actors, **rest)


class Scores(NamedTuple):
    """Suspicion of each event, 0 to 1, and what there is to say of some: rows and the reason they share."""

    suspicion: Floats
    reasons: list[tuple[NDArray[np.intp], str]]

    def put(self, rows: NDArray[np.intp], scores: Scores) -> None:
        """Take over the scores of some rows."""
        self.suspicion[rows] = scores.suspicion
        self.reasons.extend((rows[told], reason) for told, reason in scores.reasons)

    def reasons_column(self) -> pa.StringArray:
        """Return the reason of each event, null where there is none."""
        if not self.reasons:
            return pa.nulls(len(self.suspicion), pa.string())
        column = np.full(len(self.suspicion), None, object)
        add_reasons(column, self.reasons)
        return pa.array(column, pa.string())


def unsuspicious(count: int) -> Scores:
    """Return scores of 0."""
    return Scores(np.zeros(count), [])


class BurstScorer:
    """Scores the events of one partition. Deterministic in their order and times; memory is fixed (about 14 MB).

    How much history an actor has is counted approximately and never too low, up to 65,535: count-min in two rows of two
    bytes a slot. Two actors are confused only where both of their slots meet, so with a tenth of `actors_max` in use
    one newcomer in a hundred looks established. After 4 x `actors_max` events all counts are halved, so one-time
    visitors fade.
    """

    def __init__(self, settings: BurstSettings) -> None:
        self._settings = settings
        self._targets = target_table(settings.targets_max)
        self._texts = texts_table(max(settings.targets_max // _TARGETS_A_TEXT_SLOT, 1))
        self._history = np.zeros((2, settings.actors_max), np.uint16)
        self._numbers = np.array([1.0, 0.0, 0.0])
        self._values_usual = np.full(len(NAMES), 0.5)

    def score(self, events: Events) -> Scores:
        """Score events in their order, and learn from them what is usual."""
        settings = self._settings
        suspicion, known = np.empty(len(events)), np.empty((len(events), 7))
        _score(
            self._targets,
            self._texts,
            self._history,
            self._numbers,
            self._values_usual,
            *(events.targets.low, events.targets.high, events.targeted),
            *(events.actors.low, events.actors.high, events.known),
            *(events.kinds, events.values, events.times_ms),
            _NO_TEXTS if events.texts is None else events.texts,
            *(settings.events_min, settings.actor_events_min),
            *(settings.floor_per_s, settings.baseline_ms / 1000, settings.downweight_at),
            suspicion,
            known,
        )
        told = np.flatnonzero(suspicion >= settings.downweight_at)
        return Scores(suspicion, self._reasons(events.targets.low, suspicion, known, told))

    def _reasons(
        self, targets: NDArray[np.uint64], suspicion: Floats, known: Floats, told: NDArray[np.intp]
    ) -> list[tuple[NDArray[np.intp], str]]:
        """Give the suspicious events of a target the reason of the most suspicious one."""
        reasons = []
        for target in np.unique(targets[told]).tolist() if len(told) else ():
            rows = told[targets[told] == target]
            reasons.append((rows, self._reason(known[rows[np.argmax(suspicion[rows])]])))
        return reasons

    def _reason(self, known: Floats) -> str:
        n = known[_COUNT]
        texts = f"; {known[_COPIES]:.0f} of {known[_TEXTS]:.0f} texts nearly the same" if known[_COPIES] else ""
        return (
            f"burst: {n:.0f} events on this target in {_WINDOW_S} s, usual are {known[_RATE]:.1f} a second; "
            f"{known[_FRESH] / n:.0%} from actors with under {self._settings.actor_events_min} earlier events, "
            f"usual are {self._numbers[_NEWCOMERS]:.0%}; "
            f"mean value {known[_VALUE] / n:.2f}, usual is {known[_USUAL] / n:.2f}{texts}"
        )


@compiled(types.float64(types.float64[::1], types.float64, types.float64))
def _suspicion(known: Floats, newcomers_usual: float, likeness: float) -> float:
    """Return the product of the three shares; `likeness` is how much the texts agree, if the values do not."""
    n, expected = known[_COUNT], _WINDOW_S * known[_RATE]
    if n <= expected:
        return 0.0
    nats = n * np.log(n / expected) - n + expected
    newcomers = (known[_FRESH] / n - newcomers_usual) / _NEWCOMERS_FULL
    mean, usual = known[_VALUE] / n, known[_USUAL] / n
    room = 1.0 - usual if mean > usual else usual
    agreement = min(abs(mean - usual) / room, 1.0) if room > 1e-9 else 0.0
    shares = min(nats / _NATS_FULL, 1.0) * min(max(newcomers, 0.0), 1.0)
    return float(shares * (1.0 - _AGREEMENT_SHARE + _AGREEMENT_SHARE * max(agreement, likeness)))


@compiled(types.void(types.uint16[:, ::1], types.float64[::1], types.uint64, types.uint64))
def _record(history: NDArray[np.uint16], numbers: Floats, first: int, second: int) -> None:
    """Add one event to an actor's history."""
    history[0, first] += np.uint16(history[0, first] < _HISTORY_MAX)
    history[1, second] += np.uint16(history[1, second] < _HISTORY_MAX)
    numbers[_RECORDED] += 1.0
    if numbers[_RECORDED] >= 4 * history.shape[1]:
        history >>= np.uint16(1)
        numbers[_RECORDED] = 0.0


@compiled(
    types.void(
        TARGET_TYPE[::1],
        TEXTS_TYPE[::1],
        types.uint16[:, ::1],
        types.float64[::1],
        types.float64[::1],
        *(WORDS, WORDS, BOOLS),
        *(WORDS, WORDS, BOOLS),
        *(INTS, FLOATS, LONGS, WORDS),
        *(types.int64, types.int64, types.float64, types.float64, types.float64),
        types.float64[::1],
        types.float64[:, ::1],
    )
)
def _score(
    targets: NDArray[np.void],
    target_texts: NDArray[np.void],
    history: NDArray[np.uint16],
    numbers: Floats,
    values_usual: Floats,
    target_low: NDArray[np.uint64],
    target_high: NDArray[np.uint64],
    targeted: Mask,
    actor_low: NDArray[np.uint64],
    actor_high: NDArray[np.uint64],
    actor_known: Mask,
    kinds: NDArray[np.int32],
    values: Floats,
    times_ms: Longs,
    texts: Words,
    events_min: int,
    actor_events_min: int,
    floor_per_s: float,
    baseline_s: float,
    downweight_at: float,
    suspicion: Floats,
    known: Floats,
) -> None:
    """Score every event and remember it; `known` gets what its score was made of, where it was looked at."""
    actor_mask = np.uint64(history.shape[1] - 1)
    for row in range(len(times_ms)):
        if row + _AHEAD < len(times_ms):
            soon = row + _AHEAD
            prefetch(history[0], actor_low[soon] & actor_mask)
            prefetch(history[1], actor_high[soon] & actor_mask)
            expect_target(targets, target_high[soon])
        first, second = actor_low[row] & actor_mask, actor_high[row] & actor_mask
        earlier = min(history[0, first], history[1, second])
        fresh = 0.0 if actor_known[row] and earlier >= actor_events_min else 1.0
        suspicion[row] = 0.0
        busiest = 0.0
        slot = claim(targets, target_low[row], target_high[row], times_ms[row] // 1000) if targeted[row] else -1
        if slot >= 0:
            target = targets[slot]
            advance(target, times_ms[row] // 1000, baseline_s)
            target.now[_COUNT] += 1.0
            target.now[_FRESH] += fresh
            target.now[_VALUE] += values[row]
            target.now[_USUAL] += values_usual[kinds[row]]
            low, high, now_s = target_low[row], target_high[row], target.second
            copied = len(texts) > 0 and texts[row] != 0
            if copied:
                copied = write_text(target_texts, low, high, texts[row], actor_low[row], now_s)
            busiest = max(target.now[_COUNT], target.before[_COUNT])
            if busiest >= events_min:
                for column in range(4):
                    known[row, column] = target.now[column] + target.before[column]
                known[row, _RATE] = max(target.rate, floor_per_s)
                known[row, _TEXTS], known[row, _COPIES] = count_texts(target_texts, low, high, now_s)
                suspicion[row] = _suspicion(known[row], numbers[_NEWCOMERS], 0.0)
            # Not by its text, so that what is learned can be learned again from outputs that have no texts.
            if suspicion[row] < downweight_at:
                target.rate += 1.0 / baseline_s
            if copied and busiest >= events_min and known[row, _TEXTS] >= _TEXTS_MIN:
                likeness = known[row, _COPIES] / known[row, _TEXTS]
                suspicion[row] = _suspicion(known[row], numbers[_NEWCOMERS], likeness)
        if busiest < events_min:
            # At first everybody is new: what is usual is learned from few events then, and from many later.
            numbers[_CALM_EVENTS] += 1.0
            over = min(max(numbers[_CALM_EVENTS] / 2, _FIRST_EVENTS), _USUAL_EVENTS)
            numbers[_NEWCOMERS] += (fresh - numbers[_NEWCOMERS]) / over
            values_usual[kinds[row]] += (values[row] - values_usual[kinds[row]]) / _USUAL_EVENTS
            _record(history, numbers, first, second)
