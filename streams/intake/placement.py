"""Where feedback belongs, and how what lies elsewhere gets there.

An event belongs into the partition that murmur2 gives its prediction_id, or its subject_id where it names no
prediction: there are its duplicates and its prediction. A service with another partitioner, or another key, puts it
elsewhere. Such a record is written to `feedback.rekeyed`, as it came, under the right key and into the right partition,
with a header that says where it lay; that topic is read like those of the services.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.streams.compiled import BYTES, INTS, compiled
from rheostat.streams.engine.block import Block, Headers, OutBlock, Place
from rheostat.streams.intake.strings import bytes_of, offsets_of

Longs = NDArray[np.int64]

ORIGIN_HEADER = "rheostat-origin"
"""Its value is `<topic>/<partition>/<offset>` of the record as its service wrote it."""

_SEED, _M = np.uint64(0x9747B28C), np.uint64(0x5BD1E995)
_32_BITS, _POSITIVE = np.uint64(0xFFFFFFFF), np.uint64(0x7FFFFFFF)


def places(events: pa.RecordBatch, partitions: int) -> Longs:
    """Return the partition number into which each event belongs, see `schemas.partitioner`."""
    prediction_ids, subject_ids = events.column("prediction_id"), events.column("subject_id")
    found = np.empty(len(events), np.int64)
    _places(
        *(bytes_of(prediction_ids), offsets_of(prediction_ids)),
        *(bytes_of(subject_ids), offsets_of(subject_ids)),
        partitions,
        found,
    )
    return found


def rekeyed(
    events: pa.RecordBatch, belongs: Longs, block: Longs, row: Longs, blocks: Sequence[Block]
) -> list[OutBlock]:
    """Return the records of events on their way to the partitions where they belong.

    `block` and `row` say for each event in which block its record is, and where in that; shape (len(events),).
    """
    keys = [
        (prediction_id or subject_id).encode()
        for prediction_id, subject_id in zip(
            events.column("prediction_id").to_pylist(), events.column("subject_id").to_pylist(), strict=True
        )
    ]
    moved = []
    for partition in np.unique(belongs).tolist():
        at = np.flatnonzero(belongs == partition).tolist()
        records = [(blocks[block[each]], int(row[each])) for each in at]
        moved.append(
            OutBlock(
                catalogue.REKEYED,
                partition,
                [keys[each] for each in at],
                [source.values[place] for source, place in records],
                [source.timestamps_ms[place] for source, place in records],
                [_with_origin(source, place) for source, place in records],
            )
        )
    return moved


def as_written(block: Block) -> list[Block]:
    """Return rekeyed records as the blocks they were taken from; any other block, and records of nowhere, as it is."""
    if block.topic != catalogue.REKEYED:
        return [block]
    rows: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in range(len(block)):
        found = Place(block.topic, block.partition, block.offsets[row])
        topic, partition, offset = _origin(block.headers[row] if block.headers else None) or found
        rows.setdefault((topic, partition), []).append((row, offset))
    return [_part(block, topic, partition, found) for (topic, partition), found in rows.items()]


def _part(block: Block, topic: str, partition: int, found: list[tuple[int, int]]) -> Block:
    at = [row for row, _ in found]
    return Block(
        topic,
        partition,
        [offset for _, offset in found],
        [block.keys[row] for row in at],
        [block.values[row] for row in at],
        [block.timestamps_ms[row] for row in at],
        None if block.headers is None else [block.headers[row] for row in at],
    )


def _with_origin(block: Block, row: int) -> Headers:
    given = (block.headers[row] if block.headers is not None else None) or []
    origin = str(Place(block.topic, block.partition, block.offsets[row])).encode()
    return [*(each for each in given if each[0] != ORIGIN_HEADER), (ORIGIN_HEADER, origin)]


def _origin(headers: Headers | None) -> Place | None:
    """Return where a rekeyed record lay; None unless a header says so."""
    told = [value for name, value in headers or () if name == ORIGIN_HEADER]
    try:
        place = Place.parse((told[-1] if told else b"").decode("utf-8", "replace"))
    except ValueError:
        return None
    possible = place.topic in catalogue.FEEDBACK and place.partition < 1 << 31 and place.offset < 1 << 63
    return place if possible else None


@compiled(types.uint64(BYTES, types.int64, types.int64))
def _word(data: NDArray[np.uint8], start: int, count: int) -> np.uint64:
    """Return up to four bytes as a little-endian number."""
    word = np.uint64(0)
    for at in range(count):
        word |= np.uint64(data[start + at]) << np.uint64(8 * at)
    return word


@compiled(types.uint64(types.uint64))
def _times_m(number: np.uint64) -> np.uint64:
    return (number * _M) & _32_BITS


@compiled(types.int64(BYTES, types.int64, types.int64, types.int64))
def _place(data: NDArray[np.uint8], start: int, end: int, partitions: int) -> np.int64:
    """Return the partition of one key by Kafka's own rule."""
    length = end - start
    h = _SEED ^ np.uint64(length)
    whole = start + (length & ~3)
    for at in range(start, whole, 4):
        k = _times_m(_word(data, at, 4))
        h = _times_m(h) ^ _times_m(k ^ (k >> np.uint64(24)))
    if end > whole:
        h = _times_m(h ^ _word(data, whole, end - whole))
    h = _times_m(h ^ (h >> np.uint64(13)))
    h ^= h >> np.uint64(15)
    return np.int64(h & _POSITIVE) % partitions


@compiled(types.void(BYTES, INTS, BYTES, INTS, types.int64, types.int64[::1]))
def _places(
    first: NDArray[np.uint8],
    first_at: NDArray[np.int32],
    second: NDArray[np.uint8],
    second_at: NDArray[np.int32],
    partitions: int,
    found: Longs,
) -> None:
    """Place each row by its first string, by its second where that is empty."""
    for row in range(len(found)):
        if first_at[row + 1] > first_at[row]:
            found[row] = _place(first, first_at[row], first_at[row + 1], partitions)
        else:
            found[row] = _place(second, second_at[row], second_at[row + 1], partitions)
