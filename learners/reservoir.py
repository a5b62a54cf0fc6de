"""A uniform sample of the rows of each stratum, of bounded size, whose random draws follow from counters alone.

Reservoir sampling (Vitter 1985, algorithm R): the n-th row of a stratum takes place u, u uniform in [0, n), if that is
one of the `rows_per_stratum` places. So every row seen is in the sample with the same chance, `rows_per_stratum` / n,
and a stratum with many rows takes nothing from one with few. With `horizon_rows` n counts no further than that: newer
rows are then likelier, and on average a row is gone after `horizon_rows` later ones of its stratum (Aggarwal 2006).

u follows from the seed, the stratum and n by the mixing function of SplitMix64 (Steele, Lea and Flood 2014): the state
is counters and rows, and a restored sample goes on exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import no_context, select
from rheostat.learners.layout import take
from rheostat.learners.rows import alike, joined, row_tensors, take_rows

OTHERS = np.uint64(np.iinfo(np.uint64).max)
"""The stratum of all rows of strata for which there was no more room."""

Counts = NDArray[np.int64]
Keys = NDArray[np.uint64]


class StratifiedReservoir:
    """Rows by stratum (`Context.stratum`); each stratum has its own places, one after the other in `rows`."""

    def __init__(
        self, schema: FeatureSchema, rows_per_stratum: int, strata_max: int, seed: int, horizon_rows: int | None = None
    ) -> None:
        if rows_per_stratum < 1 or strata_max < 1 or (horizon_rows is not None and horizon_rows < rows_per_stratum):
            raise ValueError("need rows_per_stratum >= 1, strata_max >= 1 and horizon_rows >= rows_per_stratum")
        if not 0 <= seed < 1 << 63:
            raise ValueError(f"seed must be in [0, 2**63), got {seed}")
        self._schema = schema
        self._places = rows_per_stratum
        self._strata_max = strata_max
        self._seed = np.uint64(seed)
        self._horizon = horizon_rows
        self._numbers: dict[int, int] = {}
        self._seen: Counts = np.zeros(0, np.int64)
        self._filled = np.zeros((0, rows_per_stratum), np.bool_)
        self.rows = _blank(schema, 0)

    def __len__(self) -> int:
        return int(self._filled.sum())

    def held(self) -> Batch:
        """Return the sample, stratum by stratum in order of their first row."""
        return select(self.rows, np.flatnonzero(self._filled))

    def add(self, batch: Batch) -> None:
        """Take in rows that have a context, in order."""
        assert batch.context is not None
        strata = self._numbers_of(batch.context.stratum)
        order = self._count(strata)
        until = order if self._horizon is None else np.minimum(order, self._horizon)
        drawn = (mixed(self._seed, self._keys()[strata], order) % until.astype(np.uint64)).astype(np.int64)
        place = np.where(order <= self._places, order - 1, drawn)
        kept = np.flatnonzero(place < self._places)
        # Of two rows for one place numpy keeps the later one.
        self._filled[strata[kept], place[kept]] = True
        _write(self.rows, strata[kept] * self._places + place[kept], select(batch, kept))

    def draw(self, first: int, count: int) -> Batch:
        """Return the draws number `first` to `first + count - 1`: the strata take turns, each gives any of its rows."""
        strata = np.flatnonzero(self._filled.any(axis=1))
        if not len(strata) or not count:
            return _blank(self._schema, 0)
        numbers = np.arange(first, first + count)
        chosen = strata[numbers % len(strata)]
        size = self._filled.sum(axis=1)[chosen]
        rank = mixed(self._seed + np.uint64(1), np.zeros(count, np.uint64), numbers) % size.astype(np.uint64)
        # The place of the filled place number `rank`, counted from 0.
        place = (np.cumsum(self._filled[chosen], axis=1) > rank.astype(np.int64)[:, None]).argmax(axis=1)
        return select(self.rows, chosen * self._places + place)

    def forget(self, batch: Batch) -> int:
        """Erase all rows with the features of one of these, and return how many; their places are free again."""
        found = np.flatnonzero(self._filled.ravel() & alike(self.rows, batch))
        self._filled.reshape(-1)[found] = False
        _write(self.rows, found, _blank(self._schema, len(found)))
        return len(found)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the full state (copies)."""
        held = {"strata": self._keys().copy(), "seen": self._seen.copy(), "filled": self._filled.copy()}
        return {**{f"reservoir.{name}": each for name, each in held.items()}, **row_tensors(self.rows, "reservoir")}

    def restore(self, tensors: Tensors) -> None:
        """Take over a state; ValueError if it does not fit."""
        rows = take_rows(tensors, "reservoir", self._schema, context=True)
        strata = len(rows) // self._places
        if strata > self._strata_max or len(rows) % self._places:
            raise ValueError(f"{len(rows)} places of a reservoir, expected at most {self._strata_max} x {self._places}")
        keys = take(tensors, "reservoir.strata", np.uint64, (strata,))
        self._seen = take(tensors, "reservoir.seen", np.int64, (strata,)).copy()
        self._filled = take(tensors, "reservoir.filled", np.bool_, (strata, self._places)).copy()
        self._numbers = {key: number for number, key in enumerate(keys.tolist())}
        self.rows = rows

    def _keys(self) -> Keys:
        return np.fromiter(self._numbers, np.uint64, len(self._numbers))

    def _numbers_of(self, keys: Keys) -> Counts:
        """Return each row's stratum as a number, making room for new ones in order of their first row."""
        found, first, places = np.unique(keys, return_index=True, return_inverse=True)
        numbers = np.empty(len(found), np.int64)
        for index in np.argsort(first).tolist():
            numbers[index] = self._number_of(int(found[index]))
        return numbers[places]

    def _number_of(self, key: int) -> int:
        if key not in self._numbers and len(self._numbers) >= self._strata_max - 1:
            key = int(OTHERS)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._seen = np.append(self._seen, 0)
            self._filled = np.concatenate([self._filled, np.zeros((1, self._places), np.bool_)])
            self.rows = joined(self.rows, _blank(self._schema, self._places))
        return self._numbers[key]

    def _count(self, strata: Counts) -> Counts:
        """Return which row of its stratum each one is, from 1 on, and count them."""
        order = np.argsort(strata, kind="stable")
        counts = np.bincount(strata, minlength=len(self._seen))
        starts = np.cumsum(counts) - counts
        rank = np.empty(len(strata), np.int64)
        rank[order] = np.arange(len(strata)) - starts[strata[order]] + 1
        rank += self._seen[strata]
        self._seen = self._seen + counts
        return rank


def mixed(seed: np.uint64, keys: Keys, counters: Counts) -> Keys:
    """Return 64 random bits for each (key, counter): SplitMix64's output function, once over each of them."""
    return _mix(_mix(keys ^ _mix(np.full(len(keys), seed))) ^ counters.astype(np.uint64))


def _mix(bits: Keys) -> Keys:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _blank(schema: FeatureSchema, rows: int) -> Batch:
    numeric = np.zeros((rows, len(schema.numeric)))
    categorical = np.zeros((rows, len(schema.categorical)), np.uint64)
    return Batch(schema.id, numeric, categorical, np.zeros(rows), np.zeros(rows), no_context(rows))


def _write(target: Batch, places: Counts, source: Batch) -> None:
    assert target.context is not None
    assert source.context is not None
    for field in ("numeric", "categorical", "label", "weight"):
        getattr(target, field)[places] = getattr(source, field)
    for field in ("action", "propensity", "occurred_at_ms", "stratum"):
        getattr(target.context, field)[places] = getattr(source.context, field)
