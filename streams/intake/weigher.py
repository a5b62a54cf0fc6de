"""Weighs the entries of one partition's ledger one after the other, each by what came before it.

    weight = what it weighs by itself x reliability of its source; 0 beyond the actor's cap; then conflicts

An entry's own outcome or agreement changes only what comes after it. What is remembered follows from the end of the
ledger and, for reliability, from the text that travels with the commit. How entries are cut into blocks does not
matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas.signals import codes_of
from rheostat.streams.intake.conflicts import POLICIES, bases, ranks
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.influence import Influence
from rheostat.streams.intake.pairs import channels
from rheostat.streams.intake.recent_signals import FOUND_MAX, RecentSignals, Remembered
from rheostat.streams.intake.reliability import Reliability
from rheostat.streams.intake.settings import WeightSettings
from rheostat.streams.intake.strings import bytes_of, lengths_of, offsets_of
from rheostat.streams.intake.weigh_rows import CAPPED, OVERRULED, weigh_rows

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]
Octets = NDArray[np.uint8]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

CONFLICT = "conflict ("
"""Reasons of entries that conflicts touched begin so; what lost is told by it from what has no weight for other causes,
when the ledger is read again."""


class Candidates(NamedTuple):
    """Entries of a ledger as the weigher sees them; one row each. Strings as Arrow's bytes and offsets.

    about, by: whether an entry names a prediction and an actor; the words are the fingerprints of these and the low
    halves of others. weights: without what is learned here. lost: whether the weight of an entry is 0 because of a
    conflict; empty for entries that are new.
    """

    about: Mask
    predictions: Words
    predictions_high: Words
    by: Mask
    actors: Words
    sources: Words
    events: Words
    ids: Octets
    id_offsets: Ints
    targets: Octets
    target_offsets: Ints
    kinds: Ints
    values: Floats
    times_ms: Longs
    weights: Floats
    suspicions: Floats
    lost: Mask
    partitions: Ints
    offsets: Longs


_NEW = np.empty(0, np.bool_)


def candidates(
    entries: pa.RecordBatch,
    kinds: Ints,
    ids: Fingerprints | None = None,
    actors: Fingerprints | None = None,
    *,
    again: bool = False,
) -> Candidates:
    """Return rows of the ledger as candidates, with their weights as they are; `again` if they are in it already.

    kinds: their codes. ids, actors: fingerprints of their ids and subjects, where they are known.
    """
    prediction, subject, event, target = (
        entries.column(name) for name in ("prediction_id", "subject", "event_id", "target_id")
    )
    predictions, weights = fingerprints(prediction), entries.column("weight").to_numpy()
    return Candidates(
        about=lengths_of(prediction) > 0,
        predictions=predictions.low,
        predictions_high=predictions.high,
        by=lengths_of(subject) > 0,
        actors=(actors or fingerprints(subject)).low,
        sources=fingerprints(entries.column("source")).low,
        events=(ids or fingerprints(event)).low,
        ids=bytes_of(event),
        id_offsets=offsets_of(event),
        targets=bytes_of(target),
        target_offsets=offsets_of(target),
        kinds=kinds,
        values=entries.column("value").to_numpy(),
        times_ms=entries.column("occurred_at").to_numpy().view(np.int64),
        weights=weights,
        suspicions=entries.column("suspicion").to_numpy(),
        lost=_lost(entries.column("reasons"), weights) if again else _NEW,
        partitions=entries.column("origin_partition").to_numpy(),
        offsets=entries.column("origin_offset").to_numpy(),
    )


class Correction(NamedTuple):
    """What a known entry keeps of its weight since a row was entered."""

    entry: Remembered
    row: int
    keeps: float


class Weighed(NamedTuple):
    """What comes of rows: the weight of each, what happened to it (PLAIN, …), and the factor of its source.

    opponents: what each overruled row lost to. corrections: entries that keep another share of their weight now.
    """

    weights: Floats
    verdicts: NDArray[np.int8]
    factors: Floats
    opponents: dict[int, Remembered]
    corrections: list[Correction]

    @classmethod
    def room(cls, weights: Floats) -> Weighed:
        """Return room for what comes of rows with these weights; nothing yet."""
        return cls(weights.copy(), np.zeros(len(weights), np.int8), np.ones(len(weights)), {}, [])


class Weigher:
    """What is remembered of one partition to weigh by."""

    def __init__(self, settings: WeightSettings, suspicious_at: float, window_ms: int) -> None:
        self.reliability = Reliability()
        self.influence = Influence()
        self.signals = RecentSignals(settings.conflict_signals_max)
        self._capped = self._overruled = 0
        self._settings = settings
        self._rules: tuple[Any, ...] = (
            *(channels(), bases(), ranks(settings.conflict_policy)),
            np.array([_source(name) for name in settings.outcome_sources], np.uint64),
            *(suspicious_at, settings.actor_weight_per_hour, settings.conflict_margin),
            *(settings.reliability_floor, settings.reliability_prior, settings.reliability_halflife),
            *(POLICIES.index(settings.conflict_policy), window_ms),
        )

    def weigh(self, given: Candidates, rows: Rows, into: Weighed) -> None:
        """Enter some rows into the ledger, in this order, and write what comes of them."""
        for some in self._runs(rows):
            places, causes, keeps, opponents = self._run(given, some, into, again=False)
            for at, row, share in zip(places.tolist(), causes.tolist(), keeps.tolist(), strict=True):
                into.corrections.append(Correction(self.signals.remembered(at), row, share))
            lost = some[into.verdicts[some] == OVERRULED]
            for row in lost.tolist():
                into.opponents[row] = self.signals.remembered(int(opponents[row]))
            self._capped += int(np.count_nonzero(into.verdicts[some] == CAPPED))
            self._overruled += len(lost) + len(places)

    def take_counts(self) -> dict[str, int]:
        """Return how many entries exceeded the cap, and how many contradictions took from, since the last call."""
        counts = {"capped": self._capped, "overruled": self._overruled}
        self._capped = self._overruled = 0
        return counts

    def recall(self, entries: pa.RecordBatch) -> None:
        """Remember entries that are in the ledger, in its order: the last `conflict_signals_max`, or more."""
        given = candidates(entries, codes_of(entries.column("kind")), again=True)
        into = Weighed.room(given.weights)
        for some in self._runs(np.arange(len(entries))):
            self._run(given, some, into, again=True)

    def rate(self, text: str) -> None:
        """Take over what is known of sources, see `Reliability.as_text`."""
        self.reliability.restore(text, self._settings.reliability_floor, self._settings.reliability_prior)

    def charge(self, actors: Fingerprints, known: Mask, weights: Floats, times_ms: Longs) -> None:
        """Charge actors for entries that are in the ledger, in its order, see `Influence.tail_ms`."""
        self.influence.fold(actors, known, weights, times_ms)

    def _runs(self, rows: Rows) -> Iterator[Rows]:
        """Yield rows, as many at once as can be read again after they were entered."""
        for start in range(0, len(rows), self.signals.rows_at_once):
            yield rows[start : start + self.signals.rows_at_once]

    def _run(self, given: Candidates, rows: Rows, into: Weighed, *, again: bool) -> tuple[Longs, Longs, Floats, Longs]:
        ring, rated, size = self.signals, self.reliability, len(rows) * (FOUND_MAX + 1)
        places, causes, keeps = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size)
        opponents = np.empty(len(given.kinds), np.int64)
        arguments: tuple[Any, ...] = (
            *(ring.signals, ring.chains, ring.texts, ring.numbers),
            *(self.influence.actors, self.influence.hours, rated.keys, rated.pairs, rated.factors),
            *(rows, *given),
            *(*self._rules, again),
            *(into.weights, into.verdicts, into.factors, opponents, places, causes, keeps),
        )
        count = weigh_rows(*arguments)
        return places[:count], causes[:count], keeps[:count], opponents


def _source(name: str) -> np.uint64:
    return np.uint64(fingerprints(pa.array([name], pa.string())).low[0])


def _lost(reasons: pa.StringArray, weights: Floats) -> Mask:
    """Return which entries have a weight of 0 because they lost to another."""
    if reasons.null_count == len(reasons):
        return np.zeros(len(reasons), np.bool_)
    touched = pc.match_substring(reasons, CONFLICT).fill_null(False).to_numpy(zero_copy_only=False)
    return np.asarray(touched & (weights == 0.0))
