"""What lies in ledger and quarantine: read again when an alarm names an interval of the past, or after a restart.

An interval takes about a microsecond for each event of any target since its onset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_fields
from rheostat.streams.engine.block import Block, Place, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.own_records import decode_own
from rheostat.streams.watch.rows import TOPICS, Rows, concatenated, read_rows

Ends = Mapping[TopicPartition, int]
"""Up to where partitions have been read: the first offset that was not."""

_TARGET_FIELDS = 4
"""Leading fields of a ledger entry up to the target."""


def events_on(log: Log, targets: NDArray[np.uint64], since_ms: int, ends: Ends, apart: Rows) -> Rows:
    """Return the events since a time, in the order of their times, on targets given by the low words of their
    fingerprints; without those of `apart`."""
    found = [
        _on(block, targets)
        for at, end in sorted(ends.items())
        for block in log.read(at.topic, at.partition, since_ms=since_ms, end_offset=end)
    ]
    rows = concatenated([read_rows([]), *found])
    others = set(places(apart))
    not_apart = np.array([place not in others for place in places(rows)], np.bool_)
    kept = np.flatnonzero(not_apart & (rows.events.times_ms >= since_ms))
    return rows.take(kept[np.argsort(rows.events.times_ms[kept], kind="stable")])


def rows_at(log: Log, wanted: Sequence[Place]) -> Rows:
    """Return the rows at some places, in this order; all of them lie in the log."""
    found: list[Rows] = []
    for at in sorted({TopicPartition(place.topic, place.partition) for place in wanted}):
        offsets = [place.offset for place in wanted if place[:2] == at]
        found += [
            read_rows([picked(block, np.isin(block.offsets, offsets))])
            for block in log.read(at.topic, at.partition, start_offset=min(offsets), end_offset=max(offsets) + 1)
        ]
    rows = concatenated([read_rows([]), *found])
    row_of = {place: row for row, place in enumerate(places(rows))}
    return rows.take(np.array([row_of[place] for place in wanted], np.intp))


def held_by_alarms(log: Log, target: str, since_ms: int, ends: Ends) -> Iterator[Block]:
    """Yield what is in quarantine because of alarms on a target, as it lies there."""
    for at, end in sorted(ends.items()):
        if at.topic != catalogue.QUARANTINE:
            continue
        for block in log.read(at.topic, at.partition, since_ms=since_ms, end_offset=end):
            batch = decode_own(block)
            on_target = pc.and_(pc.is_valid(batch.column("alarm")), pc.equal(batch.column("target_id"), target))
            held = picked(block, on_target.fill_null(False).to_numpy(zero_copy_only=False))
            if len(held):
                yield held


def picked(block: Block, rows: NDArray[np.bool_]) -> Block:
    """Return some records of a block, without headers."""
    at = np.flatnonzero(rows).tolist()
    return Block(
        block.topic,
        block.partition,
        [block.offsets[row] for row in at],
        [block.keys[row] for row in at],
        [block.values[row] for row in at],
        [block.timestamps_ms[row] for row in at],
    )


def places(rows: Rows) -> Iterator[Place]:
    """Yield where each row lies."""
    columns = zip(rows.topics.tolist(), rows.partitions.tolist(), rows.offsets.tolist(), strict=True)
    return (Place(TOPICS[topic], partition, offset) for topic, partition, offset in columns)


def _on(block: Block, targets: NDArray[np.uint64]) -> Rows:
    """Decode those events of a block that are on the targets."""
    column = decode_fields(block.topic, block.values, _TARGET_FIELDS).column("target_id")
    return read_rows([picked(block, np.isin(fingerprints(column).low, targets))])
