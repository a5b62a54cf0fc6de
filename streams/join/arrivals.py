"""What came: predictions and ledger entries, with their event times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, compress, pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.schemas.signals import codes_of
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.join.labels import POSITIVE_AT, Codes, Floats, teaches
from rheostat.streams.join.rows import FOREVER, Mask, Times
from rheostat.streams.own_records import decode_all_own


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of `feedback.ledger`, all its columns, and the timestamps of their records in ms.

    `values` are the entries as encoded; without them, those that have to wait are encoded again.
    """

    records: pa.RecordBatch
    times_ms: NDArray[np.int64]
    values: Sequence[bytes | None] | None = None

    def __len__(self) -> int:
        return len(self.times_ms)

    def event_ids(self) -> Fingerprints:
        """Return the ids of the events."""
        return fingerprints(self.records.column("event_id"))

    def prediction_ids(self) -> Fingerprints:
        """Return the ids of the predictions they are about, anything where there is none."""
        return fingerprints(self.records.column("prediction_id"))

    def codes(self) -> Codes:
        """Return the codes of their kinds, see `signals`."""
        return codes_of(self.records.column("kind"))

    def numbers(self, name: str) -> Floats:
        """Return a column of numbers."""
        return np.asarray(self.records.column(name), np.float64)

    def usable(self, codes: Codes) -> Mask:
        """Return which give a label and name a prediction."""
        usable, ids = teaches(codes), self.records.column("prediction_id")
        return usable & np.asarray(ids.is_valid(), np.bool_) if ids.null_count else usable

    def where(self, mask: Mask) -> Entries:
        """Return the entries that the mask selects."""
        if mask.all():
            return self
        values = None if self.values is None else list(compress(self.values, mask))
        return Entries(self.records.filter(pa.array(mask)), self.times_ms[mask], values)

    def encoded(self) -> Sequence[bytes | None]:
        """Return them as they are on the wire."""
        return codec.encode_block(catalogue.LEDGER, self.records) if self.values is None else self.values


@dataclass(frozen=True, slots=True)
class Arrived:
    """Predictions of one block, as encoded; `failures` are of those that could not be decoded, which are left out.

    Left out as well, and counted in `shadows`: answers that were never shown, which nobody can have reacted to.

    Times are event times, `untils` the last moments at which feedback counts; `positive`: the answer shown was a score
    of a half or more. `newest_ms` is of all records.
    """

    ids: Fingerprints
    times: Times
    values: Sequence[bytes | None]
    untils: Times
    positive: Mask
    newest_ms: int
    failures: Sequence[codec.Failure]
    shadows: int = 0

    def __len__(self) -> int:
        return len(self.times)

    def after(self, horizon_ms: int) -> Arrived:
        """Return those after a moment."""
        return self._where(self.times > horizon_ms)

    def without_shadows(self, shown: Mask) -> Arrived:
        """Return those that were shown."""
        return replace(self._where(shown), shadows=int(np.count_nonzero(~shown)))

    def _where(self, mask: Mask) -> Arrived:
        if mask.all():
            return self
        values = list(compress(self.values, mask))
        ids, times, untils = self.ids.take(mask), self.times[mask], self.untils[mask]
        return replace(self, ids=ids, times=times, values=values, untils=untils, positive=self.positive[mask])


def read_predictions(blocks: Sequence[Block]) -> list[Arrived]:
    """Read blocks of `predictions`, all at once: a call costs more than a few records."""
    if not blocks:
        return []
    decoded = codec.decode_block(catalogue.PREDICTIONS, _values(blocks))
    ids = fingerprints(decoded.batch.column("prediction_id"))
    untils = _untils(decoded.batch.column("expires_at"))
    positive = np.asarray(decoded.batch.column("score"), np.float64) >= POSITIVE_AT
    shown = _shown(decoded.batch.column("shadow_of"))
    starts = _starts(blocks)
    places = np.searchsorted(decoded.rows, starts)
    arrived = []
    for block, start, (first, end) in zip(blocks, starts, pairwise(places.tolist()), strict=False):
        values, times = block.values, np.asarray(block.timestamps_ms, np.int64)
        own = range(start, start + len(block))
        failures = [each._replace(row=each.row - start) for each in decoded.failures if each.row in own]
        if failures:
            rows = decoded.rows[first:end] - start
            values, times = [values[row] for row in rows], times[rows]
        some = Fingerprints(ids.low[first:end], ids.high[first:end])
        own_untils, own_positive, newest_ms = untils[first:end], positive[first:end], max(block.timestamps_ms)
        each = Arrived(some, times, values, own_untils, own_positive, newest_ms, failures)
        arrived.append(each if shown is None else each.without_shadows(shown[first:end]))
    return arrived


def read_entries(blocks: Sequence[Block]) -> list[Entries]:
    """Read blocks of `feedback.ledger`, all at once.

    Raises Corrupt with topic, partition and offset when a record does not decode: the topic is ours.
    """
    return [
        Entries(records, np.asarray(block.timestamps_ms, np.int64), block.values)
        for block, records in batches_of(blocks)
    ]


def batches_of(blocks: Sequence[Block]) -> list[tuple[Block, pa.RecordBatch]]:
    """Return each block of a topic of ours with its records, all decoded at once; see `decode_all_own`."""
    if not blocks:
        return []
    records = decode_all_own(blocks)
    return [(block, records.slice(at, len(block))) for block, at in zip(blocks, _starts(blocks), strict=False)]


def _starts(blocks: Sequence[Block]) -> list[int]:
    """Return where each block begins among the records of all, and where the last one ends."""
    return list(accumulate(map(len, blocks), initial=0))


def _values(blocks: Sequence[Block]) -> Sequence[bytes | None]:
    return blocks[0].values if len(blocks) == 1 else list(chain.from_iterable(block.values for block in blocks))


def _shown(shadow_of: pa.Array) -> Mask | None:
    """Return which predictions were shown; None for all, as nearly always."""
    if shadow_of.null_count == len(shadow_of):
        return None
    return np.asarray(shadow_of.is_null(), np.bool_)


def _untils(expires_at: pa.Array) -> Times:
    if expires_at.null_count == len(expires_at):
        return np.full(len(expires_at), FOREVER)
    return np.asarray(expires_at.view(pa.int64()).fill_null(FOREVER), np.int64)
