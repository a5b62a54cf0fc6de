"""Ledger entries that wait for the prediction they are about."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.streams.join.rows import CHUNK_ROWS, Rows, Serials, Times


class WaitingFeedback:
    """Entries by the prediction_id they wait for. Few in normal running, so each may cost a little Python."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = Rows(schema)
        self._schema = schema
        self._serials: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, batch: pa.RecordBatch, ids: NDArray[np.object_], times: Times) -> None:
        """Let entries wait."""
        serials = self.rows.append(batch, ids, times)
        for each, serial in zip(ids.tolist(), serials.tolist(), strict=True):
            self._serials.setdefault(each, []).append(serial)

    def find(self, ids: Iterable[str]) -> Serials:
        """Return the entries that wait for these predictions, in the order of the ids, then of arrival."""
        if not self._serials:
            return np.zeros(0, np.int64)
        found = [serial for each in ids if each in self._serials for serial in self._serials[each]]
        return np.array(found, np.int64)

    def expire(self, horizon_ms: int) -> Serials:
        """Return the entries at or before a moment."""
        return self.rows.through(horizon_ms)

    def drop(self, serials: Serials) -> None:
        """Forget entries."""
        for each, serial in zip(self.rows.keys(serials), serials.tolist(), strict=True):
            waiting = self._serials[each]
            waiting.remove(serial)
            if not waiting:
                del self._serials[each]
        self.rows.drop(serials)
        if self.rows.held > 2 * len(self.rows) + CHUNK_ROWS:
            self._rebuild()

    def _rebuild(self) -> None:
        """Free the memory of entries that are gone but share a chunk with one that waits."""
        left, before = self.rows.waiting(), self.rows
        self.rows, self._serials = Rows(self._schema), {}
        self.add(before.take(left), np.array(before.keys(left), object), before.times(left))
