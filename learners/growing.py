"""Cuts a stream of batches into micro-batches that grow with what was learned: small at first, large and fast later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import check_batch, select
from rheostat.learners.layout import take
from rheostat.learners.rows import copied, empty, joined, row_tensors, take_rows

SHARE = 16
"""A micro-batch has a row for every so many that were cut before it: what is known changes little within it."""


class GrowingBatches:
    """Rows waiting for their micro-batch to be full, in order of arrival.

    The next micro-batch has 1/`SHARE` as many rows as were given out before, at least `least` and at most `most`. So
    where it is cut depends on the order of rows and on `drain` alone. Rows of weight 0 are dropped on arrival.
    """

    def __init__(self, schema: FeatureSchema, least: int, most: int) -> None:
        if not 1 <= least <= most:
            raise ValueError(f"a micro-batch has at least 1 row and at most {most}, got {least} for the least")
        self._schema = schema
        self._least = least
        self._most = most
        self._given = 0
        self._pending = empty(schema)

    @property
    def next_rows(self) -> int:
        """How many rows the next micro-batch will have."""
        return min(max(self._given // SHARE, self._least), self._most)

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Yield the micro-batches that became full; the caller must exhaust this before the next call."""
        check_batch(self._schema, batch)
        seen = batch.weight > 0.0
        rows = batch if seen.all() else select(batch, seen)
        rows = joined(self._pending, rows) if len(self._pending) else rows
        cuts = self._cuts(len(rows))
        self._pending = copied(replace(select(rows, slice(cuts[-1], None)), context=None))
        for start, end in pairwise(cuts):
            yield select(rows, slice(start, end))

    def drain(self) -> Iterator[Batch]:
        """Yield what is waiting as one last, smaller micro-batch, if there is any."""
        waiting, self._pending = self._pending, empty(self._schema)
        self._given += len(waiting)
        if len(waiting):
            yield waiting

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the waiting rows and how many were given out, as part of a snapshot."""
        return {**row_tensors(self._pending, "pending"), "pending.given": np.array([self._given], np.int64)}

    def restore(self, tensors: Tensors) -> None:
        """Take over what `tensors` gave; ValueError if it does not fit."""
        given = int(take(tensors, "pending.given", np.int64, (1,))[0])
        self._pending, self._given = take_rows(tensors, "pending", self._schema), given

    def _cuts(self, rows: int) -> list[int]:
        """Return where to cut so many rows, counting the full micro-batches between cuts as given out."""
        cuts = [0]
        while (end := cuts[-1] + self.next_rows) <= rows:
            self._given += end - cuts[-1]
            cuts.append(end)
        return cuts
