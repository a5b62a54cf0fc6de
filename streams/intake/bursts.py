"""Scores bursts of events on one target: how suspicious is each event, and why.

A rate alone is no evidence of an attack: a launch is a burst too. Suspicion is a product of three shares:

    rate       how improbable the events of this and the previous second are at twice the target's usual rate r:
               Chernoff's bound of the Poisson tail, nats = n log(n / 2r) - n + 2r, full at 12 nats (p < 1e-5)
    newcomers  the share of events from actors with little history, less the share usual in this partition, over 0.7
    agreement  0.6 + 0.4 x (how far the mean value lies from what is usual for these kinds, of how far it could)

so a flash crowd of established actors scores near 0, newcomers with mixed opinions are down-weighted, and newcomers
who all say the same are held. History counts events on calm targets only: a brigade earns none by its own burst.
Each event is scored with those before it on its target, by event time; cuts between blocks hardly matter.
Limits: a brigade of aged accounts, or one small beside the target's own rate, is not seen; while nearly all actors
are new (the first thousands of events) nothing is suspicious; parts of a burst in other partitions are not summed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.intake.actors import ActorHistory
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.settings import BurstSettings
from rheostat.streams.intake.strings import lengths_of
from rheostat.streams.intake.targets import (
    COUNT,
    FRESH,
    USUAL,
    VALUE,
    Runs,
    TargetTable,
    changes,
    running_sums,
    runs_of,
    store,
)

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

_WINDOW_S = 2
_NATS_FULL = 12.0
_NEWCOMERS_FULL = 0.7
_AGREEMENT_SHARE = 0.4
_FIRST_EVENTS = 200.0
_USUAL_EVENTS = 2_000.0
"""Events over which the partition's usual share of newcomers and usual values are averaged."""


class Events(NamedTuple):
    """What the score depends on; one row each. `actors` are pseudonyms, an empty one has no history ever."""

    targets: pa.Array
    actors: pa.Array
    kinds: NDArray[np.int32]
    values: Floats
    times_ms: Longs

    def __len__(self) -> int:
        return len(self.times_ms)


class Scores(NamedTuple):
    """Suspicion of each event, 0 to 1, and the reason for it where it matters (else null)."""

    suspicion: Floats
    reasons: pa.Array


def unsuspicious(count: int) -> Scores:
    """Return scores of 0."""
    return Scores(np.zeros(count), pa.nulls(count, pa.string()))


class BurstScorer:
    """Scores the events of one partition. Deterministic in their order and times; memory is fixed (about 14 MB)."""

    def __init__(self, settings: BurstSettings) -> None:
        self._settings = settings
        self._targets = TargetTable(settings.targets_max)
        self._history = ActorHistory(settings.actors_max)
        self._newcomers_usual = 1.0
        self._calm_events = 0
        self._value_usual = np.full(len(NAMES) + 1, 0.5)

    def score(self, events: Events) -> Scores:
        """Score events in their order, and learn from them what is usual."""
        if not len(events):
            return unsuspicious(0)
        rows, slots = self._slots(events)
        calm = np.ones(len(events), np.bool_)
        runs = runs_of(slots, events.times_ms[rows] // 1000, self._targets) if len(rows) else None
        if runs is not None:
            rows = rows[runs.order]
            calm[rows] = self._calm(runs)
        actors = fingerprints(events.actors)
        fresh = self._fresh(events, actors, calm)
        scores = unsuspicious(len(events)) if runs is None else self._score_runs(events, rows, runs, fresh, ~calm)
        self._learn_usual(events, fresh, calm)
        self._history.record(actors.take(calm))
        return scores

    def _calm(self, runs: Runs) -> Mask:
        """Return which sorted rows are on targets with too few events to be looked at."""
        ones = np.ones((len(runs.order), 1))
        sums, before = running_sums(runs, ones, self._targets, slice(COUNT, COUNT + 1))
        return np.asarray(np.maximum(sums, before)[:, 0] < self._settings.events_min)

    def _fresh(self, events: Events, actors: Fingerprints, calm: Mask) -> Mask:
        """Return whether the actor of each row has little history by then; an anonymous one never has any."""
        history = self._history.counts(actors) + _earlier(actors, calm)
        return np.asarray((history < self._settings.actor_events_min) | (lengths_of(events.actors) == 0))

    def _slots(self, events: Events) -> tuple[Longs, Longs]:
        """Return the rows that can be scored, and the slots of their targets."""
        encoded = events.targets.dictionary_encode()
        targets, indices = encoded.dictionary, encoded.indices
        if not len(targets):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        codes = (indices.fill_null(-1) if indices.null_count else indices).to_numpy()
        rows = (codes >= 0).nonzero()[0]
        codes = codes[rows]
        first = np.empty(len(targets), np.int64)
        first[codes[::-1]] = rows[::-1]
        slots, owned = self._targets.claim(fingerprints(targets), events.times_ms[first] // 1000)
        scored = owned[codes]
        return rows[scored], slots[codes[scored]]

    def _score_runs(self, events: Events, rows: Longs, runs: Runs, fresh: Mask, hot: Mask) -> Scores:
        """Score the sorted rows, those of `hot` at least, and keep what the next block needs."""
        values = np.empty((len(rows), 4))
        values[:, COUNT] = 1.0
        values[:, FRESH] = fresh[rows]
        values[:, VALUE] = events.values[rows]
        values[:, USUAL] = self._value_usual[events.kinds[rows]]
        sums, before = running_sums(runs, values, self._targets, slice(None))
        busy = hot[rows].nonzero()[0]
        calm = np.ones(len(rows))
        scores = unsuspicious(len(events))
        if len(busy):
            window, slots = (sums + before)[busy], runs.slot[runs.run[busy]]
            rate = np.maximum(self._targets.rate[slots], self._settings.floor_per_s)
            suspicion = self._suspicion(window, rate)
            calm[busy] = suspicion < self._settings.downweight_at
            scores.suspicion[rows[busy]] = suspicion
            reasons = self._reasons(slots, window, rate, suspicion)
            scores = Scores(scores.suspicion, _scattered(reasons, rows[busy], len(events)))
        store(runs, sums, before, calm, self._targets, self._settings.baseline_ms)
        return scores

    def _suspicion(self, window: Floats, rate: Floats) -> Floats:
        n, expected = window[:, COUNT], _WINDOW_S * rate
        nats = np.where(n > expected, n * np.log(n / expected) - n + expected, 0.0)
        newcomers = (window[:, FRESH] / n - self._newcomers_usual) / _NEWCOMERS_FULL
        suspicion = (nats / _NATS_FULL).clip(0, 1) * newcomers.clip(0, 1)
        return np.asarray(suspicion * (1 - _AGREEMENT_SHARE + _AGREEMENT_SHARE * _agreement(window)))

    def _reasons(self, slots: Longs, window: Floats, rate: Floats, suspicion: Floats) -> list[tuple[Longs, str]]:
        """Return one text for each suspicious target, from its most suspicious event, and the rows it is for."""
        told = (suspicion >= self._settings.downweight_at).nonzero()[0]
        if not len(told):
            return []
        found = []
        for slot in np.unique(slots[told]).tolist():
            rows = told[slots[told] == slot]
            worst = rows[np.argmax(suspicion[rows])]
            found.append((rows, self._reason(window[worst], float(rate[worst]))))
        return found

    def _reason(self, window: Floats, rate: float) -> str:
        n = window[COUNT]
        return (
            f"burst: {n:.0f} events on this target in {_WINDOW_S} s, usual are {rate:.1f} a second; "
            f"{window[FRESH] / n:.0%} from actors with under {self._settings.actor_events_min} earlier events, "
            f"usual are {self._newcomers_usual:.0%}; "
            f"mean value {window[VALUE] / n:.2f}, usual is {window[USUAL] / n:.2f}"
        )

    def _learn_usual(self, events: Events, fresh: Mask, calm: Mask) -> None:
        count = int(np.count_nonzero(calm))
        if count:
            # At first everybody is new: what is usual is learned from few events then, and from many later.
            self._calm_events += count
            over = min(max(self._calm_events / 2, _FIRST_EVENTS), _USUAL_EVENTS)
            self._newcomers_usual += (fresh[calm].mean() - self._newcomers_usual) * -np.expm1(-count / over)
        kinds = events.kinds[calm]
        counts = np.bincount(kinds, minlength=len(self._value_usual))
        sums = np.bincount(kinds, events.values[calm], minlength=len(self._value_usual))
        means = np.divide(sums, counts, out=self._value_usual.copy(), where=counts > 0)
        self._value_usual += (means - self._value_usual) * -np.expm1(-counts / _USUAL_EVENTS)


def _earlier(actors: Fingerprints, counted: Mask) -> Longs:
    """Return for each row how many counted rows of the same actor come before it in the block."""
    order = np.argsort(actors.low, kind="stable")
    low = actors.low[order]
    new_actor = changes(low)
    counts = counted[order]
    before: Longs = np.cumsum(counts) - counts
    earlier = np.empty(len(order), np.int64)
    earlier[order] = before - before[new_actor][np.cumsum(new_actor) - 1]
    return earlier


def _agreement(window: Floats) -> Floats:
    """Return how far the mean value is from the usual one, as a share of how far it could be on that side."""
    mean, usual = window[:, VALUE] / window[:, COUNT], window[:, USUAL] / window[:, COUNT]
    room = np.where(mean > usual, 1 - usual, usual)
    return np.divide(np.abs(mean - usual), room, out=np.zeros(len(mean)), where=room > 1e-9).clip(0, 1)


def _scattered(reasons: list[tuple[Longs, str]], rows: Longs, count: int) -> pa.Array:
    if not reasons:
        return pa.nulls(count, pa.string())
    codes = np.full(count, -1, np.int32)
    for code, (at, _) in enumerate(reasons):
        codes[rows[at]] = code
    texts = pa.array([text for _, text in reasons], pa.string())
    return texts.take(pa.array(codes, mask=codes < 0))
