"""Cuts a stream of batches into micro-batches that grow with what was learned: small at first, large and fast later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.layout import take
from rheostat.learners.rows import copied, empty, joined, row_tensors, take_rows

LEAST_ROWS = 8
"""Of the first micro-batches, where so many are allowed."""


class GrowingBatches:
    """Rows waiting for their micro-batch to be full, in order of arrival.

    The next micro-batch has a row for every `share` that were given out before, so that what is known changes little
    within it; at least `LEAST_ROWS` and at most `most`. So where it is cut depends on the order of rows and on `drain`
    alone. Rows of weight 0 are dropped on arrival. With `context` every micro-batch has one, and it is kept with
    waiting rows; without, it is dropped.
    """

    def __init__(self, schema: FeatureSchema, most: int, share: int, *, context: bool = False) -> None:
        if most < 1:
            raise ValueError(f"batch_rows must be at least 1, got {most}")
        self._schema = schema
        self._most = most
        self._share = share
        self._context = context
        self._given = 0
        self._pending = empty(schema, context=context)

    @property
    def next_rows(self) -> int:
        """How many rows the next micro-batch will have."""
        return min(max(self._given // self._share, LEAST_ROWS), self._most)

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Yield the micro-batches that became full; the caller must exhaust this before the next call."""
        check_batch(self._schema, batch)
        if (batch.context is not None) is not self._context:
            batch = replace(batch, context=no_context(len(batch)) if self._context else None)
        seen = batch.weight > 0.0
        rows = batch if seen.all() else select(batch, seen)
        rows = joined(self._pending, rows) if len(self._pending) else rows
        cuts = self._cuts(len(rows))
        self._pending = copied(select(rows, slice(cuts[-1], None)))
        for start, end in pairwise(cuts):
            yield select(rows, slice(start, end))

    def drain(self) -> Iterator[Batch]:
        """Yield what is waiting as one last, smaller micro-batch, if there is any."""
        waiting, self._pending = self._pending, empty(self._schema, context=self._context)
        self._given += len(waiting)
        if len(waiting):
            yield waiting

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the waiting rows and how many were given out, as part of a snapshot."""
        return {**row_tensors(self._pending, "pending"), "pending.given": np.array([self._given], np.int64)}

    def restore(self, tensors: Tensors) -> None:
        """Take over what `tensors` gave; ValueError if it does not fit."""
        given = int(take(tensors, "pending.given", np.int64, (1,))[0])
        self._pending = take_rows(tensors, "pending", self._schema, context=self._context)
        self._given = given

    def _cuts(self, rows: int) -> list[int]:
        """Return where to cut so many rows, counting the full micro-batches between cuts as given out."""
        cuts = [0]
        while (end := cuts[-1] + self.next_rows) <= rows:
            self._given += end - cuts[-1]
            cuts.append(end)
        return cuts
