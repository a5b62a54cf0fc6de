"""How often a category, or a pair of them, came with a positive label, as log-odds: one number for any of thousands.

A table of fixed size, addressed by hash, counts rows and positives. Each row is scored with what was counted before it,
so the log-odds of a category seen once say nothing of its own label.
"""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema, Floats, Tensors
from rheostat.learners.layout import take

PRIOR_ROWS = 10.0
"""Rows at the mean of all labels that each category is credited with, so that a few rows move it little."""

ROWS_MAX = 4096.0
"""From so many rows on, a count and its positives are halved: later rows count for more, and changes are followed."""

BASE_ROWS_MAX = 65_536.0
"""The same for the mean of all labels."""

Singles = NDArray[np.float32]
Places = NDArray[np.int64]


class CategoryOdds:
    """Counts of rows and positives by category and by pair.

    table: float32 (rows, 2), a power of two of rows: weight seen and its share that was positive. base: float64 (2,),
    the same for all rows. pairs: int64 (Q, 2), which categorical features are counted together.
    """

    def __init__(self, table: Singles, base: Floats, pairs: Places) -> None:
        self.table = table
        self.base = base
        self.pairs = pairs

    @staticmethod
    def empty(schema: FeatureSchema, table_bits: int, pairs_max: int) -> CategoryOdds:
        """Return a table that counted nothing, of one row if there are no categories; of pairs it has the first."""
        pairs = list(islice(combinations(range(len(schema.categorical)), 2), pairs_max))
        rows = 1 << table_bits if schema.categorical else 1
        return CategoryOdds(np.zeros((rows, 2), np.float32), np.zeros(2), np.array(pairs, np.int64).reshape(-1, 2))

    @staticmethod
    def from_tensors(tensors: Tensors, schema: FeatureSchema) -> CategoryOdds:
        """Return what `tensors` described, on these very arrays; ValueError if it does not fit."""
        table, pairs = tensors.get("odds.table"), tensors.get("odds.pairs")
        if table is None or table.ndim != 2 or table.shape[0] < 1 or table.shape[0] & (table.shape[0] - 1):
            raise ValueError("tensor 'odds.table' is missing, or is not a power of two of rows")
        if pairs is None or pairs.ndim != 2:
            raise ValueError("tensor 'odds.pairs' is missing, or is not a table")
        known = take(tensors, "odds.pairs", np.int64, (pairs.shape[0], 2))
        if not ((known >= 0) & (known < len(schema.categorical))).all():
            raise ValueError("tensor 'odds.pairs' names a feature that the schema does not have")
        counts = take(tensors, "odds.table", np.float32, (table.shape[0], 2))
        return CategoryOdds(counts, take(tensors, "odds.base", np.float64, (2,)), known)

    @property
    def base_rate(self) -> float:
        """The mean of all labels, 1/2 before the first, never quite 0 or 1."""
        return float((self.base[1] + 0.5) / (self.base[0] + 1.0))

    def places(self, categorical: NDArray[np.uint64]) -> Places:
        """Return the row of the table of each category and, after them, of each pair: -1 where one is missing."""
        if not categorical.shape[1]:
            return np.zeros(categorical.shape, np.int64)
        first, second = (categorical[:, self.pairs[:, side]] for side in (0, 1))
        with_pairs = np.concatenate([categorical, _mixed(first) ^ second], axis=1)
        column = np.arange(with_pairs.shape[1], dtype=np.uint64)
        places = (_mixed(with_pairs + column) & np.uint64(len(self.table) - 1)).astype(np.int64)
        missing = np.concatenate([categorical == 0, (first == 0) | (second == 0)], axis=1)
        places[missing] = -1
        return places

    def log_odds(self, places: Places) -> Floats:
        """Return by how much the log-odds at each place are above those of all rows, 0 for a missing one."""
        if not places.size:
            return np.zeros(places.shape)
        seen, positive = (self.table[:, side][places].astype(np.float64) for side in (0, 1))
        rate = self.base_rate
        odds = np.log((positive + PRIOR_ROWS * rate) / (seen - positive + PRIOR_ROWS * (1.0 - rate)))
        odds -= np.log(rate / (1.0 - rate))
        odds[places < 0] = 0.0
        return odds

    def count(self, places: Places, label: Floats, weight: Floats) -> Places:
        """Count labelled rows at their places, and return which rows of the table changed, rising."""
        if not places.size:
            return np.zeros(0, np.int64)
        self.base += (weight.sum(), (weight * label).sum())
        if self.base[0] > BASE_ROWS_MAX:
            self.base *= 0.5
        row, column = np.nonzero(places >= 0)
        touched = places[row, column]
        for side, amount in enumerate((weight, weight * label)):
            np.add.at(self.table[:, side], touched, amount[row].astype(np.float32))
        touched = np.unique(touched)
        full = touched[self.table[touched, 0] > ROWS_MAX]
        self.table[full] *= np.float32(0.5)
        return touched

    def restore(self, tensors: Tensors) -> None:
        """Take over copies of a snapshot's counts; ValueError if they do not fit."""
        base = take(tensors, "odds.base", np.float64, (2,)).copy()
        table = take(tensors, "odds.table", np.float32, self.table.shape).copy()
        self.pairs = take(tensors, "odds.pairs", np.int64, self.pairs.shape).copy()
        self.table, self.base = table, base

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return copies of all arrays, part of a snapshot."""
        return {"odds.table": self.table.copy(), "odds.base": self.base.copy(), "odds.pairs": self.pairs.copy()}


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return each word with its bits spread over all others: the finaliser of SplitMix64 (Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
