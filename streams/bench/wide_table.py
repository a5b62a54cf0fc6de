"""A model with a table of millions of rows, and a learner of it that needs no more memory than the table.

What it learns is of no use: the rows of a batch's categories move a little. What it publishes is a real model of kind
`hashed-mlp/2`, with ids of their own, that servers score with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Snapshot, Tensors
from rheostat.learners.digest import Rows
from rheostat.learners.mlp import MLP, mlp_predictor, rows_of

HIDDEN = 8
_FILLED_AT_ONCE = 1 << 16


class WideTable:
    """See `Learner`. rows: about how many; four fifths of them are ids' own, a power of two, and so are the others."""

    kind = MLP

    def __init__(self, schema: FeatureSchema, rows: int, width: int) -> None:
        own = 1 << max(5, round(np.log2(rows * 0.8)))
        self.schema = schema
        self._table = np.empty((own + own // 4, width), np.float32)
        random = np.random.default_rng(0)
        for start in range(0, len(self._table), _FILLED_AT_ONCE):
            part = self._table[start : start + _FILLED_AT_ONCE]
            part[:] = random.standard_normal(part.shape, np.float32)
        self._keys = np.arange(1, own + 1, dtype=np.uint64)
        self._touched = np.zeros(len(self._table), np.bool_)

    def learn(self, batch: Batch) -> None:
        """Move the rows of the batch's categories."""
        rows = rows_of(batch.categorical, len(self._table), self._keys).reshape(-1)
        self._table[rows] += np.float32(0.001)
        self._touched[rows] = True

    def flush(self) -> None:
        """Nothing waits."""

    def predict(self, batch: Batch) -> Floats:
        """Return what the model says."""
        return self._predictor().predict(batch)

    def parameters(self) -> Tensors:
        """Return windows to table and keys, and what else the model needs."""
        numeric, inputs = len(self.schema.numeric), len(self.schema.numeric) + self._width()
        return {
            "table": _window(self._table),
            "ids.keys": _window(self._keys),
            "task": np.frombuffer(b"binary", np.uint8).copy(),
            "hidden.weight": np.full((inputs, HIDDEN), 0.01, np.float32),
            "hidden.bias": np.zeros(HIDDEN, np.float32),
            "output.weight": np.full(HIDDEN, 0.1, np.float32),
            "output.bias": np.zeros(1, np.float32),
            "scale.mean": np.zeros(numeric),
            "scale.factor": np.ones(numeric),
            "scale.options": np.array([0.0, 10.0]),
        }

    def touched_rows(self) -> Mapping[str, Rows]:
        """Return the rows that were moved since the last call."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        return {"table": rows, "ids.keys": np.empty(0, np.int64)}

    def snapshot(self) -> Snapshot:
        """Return next to nothing: this is about what servers are told, and nothing is restored."""
        return Snapshot(self.kind, self.schema.id, {"nothing": np.zeros(1, np.uint8)})

    def restore(self, snapshot: Snapshot) -> None:
        """Refuse."""
        raise ValueError("the state of this learner is not saved")

    def _predictor(self) -> Predictor:
        return mlp_predictor(self.schema, self.kind, self.parameters())

    def _width(self) -> int:
        return len(self.schema.categorical) * int(self._table.shape[1])


def _window(array: NDArray[np.generic]) -> NDArray[np.generic]:
    view = array.view()
    view.flags.writeable = False
    return view
