"""What changes, after the fact, how much an event counts: corrections, and retractions by who gave it.

For each cause the newest change stands; what an event keeps of its weight is the product over all causes. A change may
come before its event does, and is remembered for as long as the event could still come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.join.answers import Floats
from rheostat.streams.join.arrivals import Entries, batches_of
from rheostat.streams.join.labels import RETRACTION, retract
from rheostat.streams.join.rows import Mask, Rows, Times
from rheostat.streams.join.settings import Spill

_AS_THEY_ARE = ("event_id", "prediction_id", "kind", "origin_topic", "origin_partition", "origin_offset")
_COLUMNS = (*_AS_THEY_ARE, "occurred_at", "weight", "cause", "keeps")
_SCHEMA = pa.schema([codec.arrow_schema(catalogue.CORRECTIONS).field(name) for name in _COLUMNS])
_KEPT = np.dtype([("cause", "<u8"), ("keeps", "<f8")])


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one block, in order; `times` are the timestamps of their records, in ms.

    Columns: event_id (whose weight changes), prediction_id, kind, origin_*, occurred_at, weight (that of the ledger, 0
    where it is not known), cause, keeps.
    """

    columns: pa.RecordBatch
    times: Times

    def __len__(self) -> int:
        return len(self.times)

    def event_ids(self) -> Fingerprints:
        """Return the ids of the events."""
        return fingerprints(self.columns.column("event_id"))

    def prediction_ids(self) -> Fingerprints:
        """Return the ids of the predictions they are about, anything where there is none."""
        return fingerprints(self.columns.column("prediction_id"))

    def numbers(self, name: str) -> Floats:
        """Return a column of numbers."""
        return np.asarray(self.columns.column(name), np.float64)

    def newest_of_each(self) -> Changes:
        """Return the last change of each event, in their order."""
        _, places = np.unique(np.stack(self.event_ids())[:, ::-1], axis=1, return_index=True)
        last = np.zeros(len(self), np.bool_)
        last[len(self) - 1 - places] = True
        return self if last.all() else self.where(last)

    def where(self, mask: Mask) -> Changes:
        """Return those that a mask selects."""
        return Changes(self.columns.filter(pa.array(mask)), self.times[mask])


def read_changes(blocks: Sequence[Block]) -> list[Changes]:
    """Read blocks of `feedback.corrections`; raises Corrupt where a record does not decode: the topic is ours."""
    return [
        Changes(
            pa.RecordBatch.from_arrays([batch.column(name) for name in _COLUMNS], schema=_SCHEMA),
            np.asarray(block.timestamps_ms, np.int64),
        )
        for block, batch in batches_of(blocks)
    ]


def all_of(changes: Sequence[Changes]) -> Changes:
    """Return several, at least one, as one."""
    if len(changes) == 1:
        return changes[0]
    columns = pa.concat_batches([each.columns for each in changes])
    return Changes(columns, np.concatenate([each.times for each in changes]))


def retractions(entries: Entries, codes: NDArray[np.int32]) -> Changes | None:
    """Return what ledger entries take back, None if nothing; what an event loses by it is everything."""
    rows = np.flatnonzero(retract(codes) & np.asarray(entries.records.column("retracts").is_valid(), np.bool_))
    if not len(rows):
        return None
    records = entries.records.take(pa.array(rows))
    columns = {name: records.column(name) for name in (*_AS_THEY_ARE, "occurred_at")}
    columns |= {"event_id": records.column("retracts"), "cause": pa.repeat(RETRACTION, len(rows))}
    columns |= {name: pa.repeat(0.0, len(rows)) for name in ("weight", "keeps")}
    batch = pa.RecordBatch.from_arrays([columns[name] for name in _COLUMNS], schema=_SCHEMA)
    return Changes(batch, entries.times_ms[rows])


class Remembered:
    """The changes of events that may still come, or may be changed again."""

    def __init__(self, window_ms: int, spill: Spill | None = None) -> None:
        self._rows = Rows(window_ms, spill)

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, changes: Changes, horizon_ms: int) -> None:
        """Remember those after a moment."""
        later = changes.times > horizon_ms
        kept = np.empty(int(np.count_nonzero(later)), _KEPT)
        kept["cause"] = fingerprints(changes.columns.column("cause")).low[later]
        kept["keeps"] = changes.numbers("keeps")[later]
        self._rows.add(changes.event_ids().take(later), changes.times[later], [each.tobytes() for each in kept])

    def keeps(self, events: Fingerprints) -> Floats:
        """Return the share of its weight that each event keeps."""
        shares = np.ones(len(events.low))
        if not len(self._rows):
            return shares
        which, slots = self._rows.find_all(events)
        if not len(slots):
            return shares
        kept = np.frombuffer(b"".join(self._rows.values(slots)), _KEPT)
        # They are in order of arrival: seen from the end, the first of each event and cause is the newest.
        pairs = np.stack([which.astype(np.uint64), kept["cause"]], axis=1)[::-1]
        _, newest = np.unique(pairs, axis=0, return_index=True)
        newest = len(which) - 1 - np.sort(newest)[::-1]
        np.multiply.at(shares, which[newest], kept["keeps"][newest])
        return shares

    def forget(self, horizon_ms: int) -> None:
        """Forget those up to a moment."""
        if len(self._rows):
            self._rows.drop(self._rows.through(horizon_ms))
