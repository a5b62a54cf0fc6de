"""What arrived in one call: the blocks of one partition number, decoded and put behind each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import Decoded, Failure, arrow_schema, decode_block
from rheostat.schemas.signals import Channel, Signals, read_signals
from rheostat.streams.engine.block import Block

Longs = NDArray[np.int64]
Rows = NDArray[np.intp]

CHANNELS: dict[str, Channel] = {
    catalogue.FEEDBACK_EXPLICIT: "explicit",
    catalogue.FEEDBACK_IMPLICIT: "implicit",
    catalogue.FEEDBACK_OUTCOME: "outcome",
}


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Decodable feedback events, one row each, columnar.

    `batch` has the fields that the three feedback schemas share. `block` says in which block of the call a row came,
    `at` its place in all of them one behind the other. `times_ms` is when the events occurred.
    """

    batch: pa.RecordBatch
    signals: Signals
    times_ms: Longs
    block: Longs
    at: Longs

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: Rows) -> Arrivals:
        """Return some rows, in this order."""
        if len(rows) == len(self):
            return self
        signals = Signals(*(getattr(self.signals, each.name)[rows] for each in fields(Signals)))
        batch = self.batch.take(pa.array(rows))
        return Arrivals(batch, signals, self.times_ms[rows], self.block[rows], self.at[rows])


def arrive(blocks: Sequence[Block], record_bytes_max: int) -> tuple[Arrivals, list[tuple[int, Failure]]]:
    """Decode blocks, those of a topic together; return what could be decoded, and what could not and why.

    A failure comes with the index of its block; its `row` is the place in that block. The rows of a block keep their
    order.
    """
    starts = np.fromiter(itertools.accumulate(map(len, blocks), initial=0), np.int64, len(blocks) + 1)
    parts, failures = [], _of_nowhere(blocks)
    for topic in CHANNELS:
        indices = [index for index, block in enumerate(blocks) if block.topic == topic]
        if not indices:
            continue
        at = np.concatenate([np.arange(starts[index], starts[index + 1]) for index in indices])
        of_topic = [blocks[index].values for index in indices]
        decoded = _decode(topic, list(itertools.chain.from_iterable(of_topic)), record_bytes_max)
        at_failed = at[[each.row for each in decoded.failures]].tolist() if decoded.failures else []
        for place, failure in zip(at_failed, decoded.failures, strict=True):
            block = int(np.searchsorted(starts, place, "right")) - 1
            failures.append((block, failure._replace(row=place - int(starts[block]))))
        parts.append(_part(topic, at[decoded.rows], starts, decoded.batch))
    return _joined(parts), failures


def _of_nowhere(blocks: Sequence[Block]) -> list[tuple[int, Failure]]:
    """Return a failure for each record of a topic that is none of feedback's."""
    return [
        (index, Failure(row, "headers", f"do not say which topic the record was sent to; found in {block.topic}"))
        for index, block in enumerate(blocks)
        if block.topic not in CHANNELS
        for row in range(len(block))
    ]


def _decode(topic: str, values: list[bytes | None], record_bytes_max: int) -> Decoded:
    """Decode a run; records that are too large are not even looked into."""
    sizes = [0 if value is None else len(value) for value in values]
    if not sizes or max(sizes) <= record_bytes_max:
        return decode_block(topic, values)
    too_large = np.flatnonzero(np.array(sizes) > record_bytes_max)
    rest = np.flatnonzero(np.array(sizes) <= record_bytes_max)
    decoded = decode_block(topic, [values[row] for row in rest.tolist()])
    failures = [
        Failure(row, "payload", f"has {sizes[row]} bytes, at most {record_bytes_max} are allowed")
        for row in too_large.tolist()
    ]
    failures += [each._replace(row=int(rest[each.row])) for each in decoded.failures]
    return Decoded(decoded.batch, rest[decoded.rows], sorted(failures))


def _part(topic: str, at: Longs, starts: Longs, batch: pa.RecordBatch) -> Arrivals:
    signals = read_signals(batch.column("kind"), batch.column("value").to_numpy(), CHANNELS[topic])
    times_ms = batch.column("occurred_at").to_numpy().view(np.int64)
    return Arrivals(batch, signals, times_ms, np.searchsorted(starts, at, "right") - 1, at)


def _joined(parts: Sequence[Arrivals]) -> Arrivals:
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        none = np.empty(0, np.int64)
        empty = arrow_schema(catalogue.FEEDBACK_EXPLICIT).empty_table().combine_chunks()
        batch = pa.RecordBatch.from_arrays([pa.array([], each.type) for each in empty.schema], schema=empty.schema)
        return Arrivals(batch, read_signals(batch.column("kind"), np.empty(0), "explicit"), none, none, none)
    signals = Signals(*(_concatenated(parts, each.name) for each in fields(Signals)))
    batch = pa.concat_batches([part.batch for part in parts])
    times_ms, block, at = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("times_ms", "block", "at")
    )
    return Arrivals(batch, signals, times_ms, block, at)


def _concatenated(parts: Sequence[Arrivals], name: str) -> Any:
    return np.concatenate([getattr(part.signals, name) for part in parts])
