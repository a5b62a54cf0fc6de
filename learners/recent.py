"""The last rows that were learned: a sample of what a model sees now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Tensors
from rheostat.learners.features import select
from rheostat.learners.rows import alike, empty, joined, row_tensors, take_rows


class RecentRows:
    """The last `rows_max` rows, oldest first, without their context."""

    def __init__(self, schema: FeatureSchema, rows_max: int) -> None:
        self._schema = schema
        self._rows_max = rows_max
        self.rows = empty(schema)

    def add(self, batch: Batch) -> None:
        """Take in rows, in order."""
        new = select(replace(batch, context=None), slice(max(len(batch) - self._rows_max, 0), None))
        kept = select(self.rows, slice(max(len(self.rows) + len(new) - self._rows_max, 0), None))
        self.rows = joined(kept, new)

    def forget(self, batch: Batch) -> int:
        """Erase all rows with the features of one of these, and return how many."""
        found = alike(self.rows, batch)
        self.rows = select(self.rows, ~found)
        return int(found.sum())

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the rows, as part of a snapshot."""
        return row_tensors(self.rows, "recent")

    def restore(self, tensors: Tensors) -> None:
        """Take over the rows of a snapshot; ValueError if they do not fit."""
        self.rows = take_rows(tensors, "recent", self._schema)
