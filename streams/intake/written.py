"""Entries on their way out: encoded once for all partition numbers, then dealt out to each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.codec import encode_block
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.intake.arrivals import Arrivals

Rows = NDArray[np.intp]
Groups = list[tuple[int, Rows]]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Written:
    """The entries of one partition number: as encoded, under their original keys, stamped with the time they occurred,
    and as some rows of a batch with the fields of the topic."""

    block: OutBlock
    batch: pa.RecordBatch
    rows: Rows
    _times_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def entries(self) -> pa.RecordBatch:
        """Return the rows."""
        return self.batch if len(self.rows) == len(self.batch) else self.batch.take(pa.array(self.rows))

    def times_ms(self) -> NDArray[np.int64]:
        """Return when they occurred."""
        return self._times_ms[self.rows]


def write(
    topic: str,
    batch: pa.RecordBatch,
    arrivals: Arrivals,
    partitions: Sequence[int],
    groups: Groups,
    blocks: Sequence[Block],
) -> dict[int, Written]:
    """Encode entries, the rows of `arrivals`, of which there is one at least; return those of every owner.

    `partitions` are the partition numbers of the owners.
    """
    values = encode_block(topic, batch)
    keys = picked(list(itertools.chain.from_iterable(block.keys for block in blocks)), arrivals.at)
    times_ms: list[int] = arrivals.times_ms.tolist()
    written = {}
    for number, rows in groups:
        out = OutBlock(topic, partitions[number], picked(keys, rows), picked(values, rows), picked(times_ms, rows))
        written[number] = Written(out, batch, rows, arrivals.times_ms)
    return written


def grouped(owner: NDArray[np.int64]) -> Groups:
    """Return every owner of a row with its rows."""
    return [(number, np.flatnonzero(owner == number)) for number in np.flatnonzero(np.bincount(owner)).tolist()]


def picked(items: Sequence[Item], rows: Rows) -> Sequence[Item]:
    """Return the items of some rows; the list itself if those are all of them, in order."""
    if len(rows) == len(items) and (np.diff(rows) == 1).all():
        return items
    return list(map(items.__getitem__, rows.tolist()))
