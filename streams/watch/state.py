"""What the watch goes on from: a snapshot of its tables, and what it has read since, transaction by transaction.

    snapshot 7, chunks 0..n-1 | reading 0, 1, 2 ... of snapshot 7

The order in which partitions were read decides what bursts look like, and no log has it; so each transaction notes what
it read and when. Reading the same runs again from a snapshot on gives the same state to the bit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record, encode_record
from rheostat.streams.engine.block import Block, OutBlock, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.engine.trim import before
from rheostat.streams.errors import Corrupt

_CHUNK_BYTES = 900_000
_SNAPSHOT_BYTES_MAX = 1 << 32
_HEAD = struct.Struct("<QI")
_CODEC = pa.Codec("zstd", compression_level=1)

Tables = Mapping[str, NDArray[Any]]


class Run(NamedTuple):
    """One contiguous run of one partition; `end` is the first offset not read."""

    topic: str
    partition: int
    start: int
    end: int


class Reading(NamedTuple):
    """What one transaction read, and when by the clock of the watch, which stands still while it does not run."""

    at_ms: int
    runs: Sequence[Run]


class Kept(NamedTuple):
    """A snapshot, with a JSON value of its own (None: there is none yet), and the readings after it, in order."""

    snapshot: bytes
    readings: list[Reading]


def snapshot_records(number: int, tables: Tables, facts: Any, now_ms: int) -> OutBlock:
    """Return a snapshot as records; `facts` is anything that JSON can hold."""
    data = packed(tables, facts)
    parts = [data[start : start + _CHUNK_BYTES] for start in range(0, len(data), _CHUNK_BYTES)]
    records = [
        {"snapshot": number, "index": index, "chunks": len(parts), "at": now_ms, "data": part, "read": []}
        for index, part in enumerate(parts)
    ]
    return _out([(f"snapshot/{record['index']}", record) for record in records], now_ms)


def reading_record(number: int, index: int, blocks: Sequence[Block], at_ms: int, now_ms: int) -> OutBlock:
    """Return the note of what a transaction read after snapshot `number`, and when by the clock of the watch."""
    read = [
        {"topic": block.topic, "partition": block.partition, "start": block.offsets[0], "end": block.next_offset}
        for block in blocks
    ]
    record = {"snapshot": number, "index": index, "chunks": 0, "at": at_ms, "data": b"", "read": read}
    return _out([(f"reading/{index}", record)], now_ms)


def _out(records: Sequence[tuple[str, Mapping[str, Any]]], now_ms: int) -> OutBlock:
    return OutBlock(
        catalogue.WATCH_STATE,
        0,
        [key.encode() for key, _ in records],
        [encode_record(catalogue.WATCH_STATE, record) for _, record in records],
        [now_ms] * len(records),
    )


def kept(log: Log, number: int, readings: int) -> Kept:
    """Return snapshot `number` (0: the empty state) and its first `readings` readings. Raises Corrupt."""
    chunks: dict[int, dict[str, Any]] = {}
    notes: dict[int, Reading] = {}
    for block in log.read(catalogue.WATCH_STATE, 0):
        for value in block.values:
            record = decode_record(catalogue.WATCH_STATE, value)
            if record["snapshot"] != number:
                continue
            if record["chunks"]:
                chunks[record["index"]] = record
            elif record["index"] < readings:
                runs = [Run(run["topic"], run["partition"], run["start"], run["end"]) for run in record["read"]]
                notes[record["index"]] = Reading(record["at"], runs)
    count = chunks[0]["chunks"] if 0 in chunks else 0
    if len(notes) != readings or len(chunks) != count or (number and not count):
        raise Corrupt(
            f"{catalogue.WATCH_STATE}[0]",
            f"snapshot {number} has {len(chunks)} of {count} chunks and {len(notes)} of {readings} readings. Set the "
            "offsets of the group rheostat-watch to the beginning of the ledger to have the watch learn anew",
        )
    return Kept(b"".join(chunks[index]["data"] for index in range(count)), [notes[index] for index in range(readings)])


def packed(tables: Tables, facts: Any) -> bytes:
    """Return tables and facts as bytes: lengths, a JSON header, and the arrays one behind the other, compressed."""
    shapes = [[name, str(array.dtype.descr), list(array.shape), array.nbytes] for name, array in sorted(tables.items())]
    header = json.dumps({"facts": facts, "tables": shapes}, separators=(",", ":")).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for _, array in sorted(tables.items()))
    compressed: bytes = _CODEC.compress(body, asbytes=True)
    return _HEAD.pack(len(body), len(header)) + header + compressed


def unpacked(data: bytes, tables: Tables) -> Any:
    """Fill tables with what was packed; return the facts. Raises ValueError if they are other tables."""
    body_bytes, header_bytes = _HEAD.unpack_from(data)
    header = json.loads(data[_HEAD.size : _HEAD.size + header_bytes])
    shapes = [[name, str(array.dtype.descr), list(array.shape), array.nbytes] for name, array in sorted(tables.items())]
    if header["tables"] != shapes or body_bytes != sum(array.nbytes for array in tables.values()):
        raise ValueError("the snapshot has tables of another size or form; were the bounds of the watch changed?")
    if body_bytes > _SNAPSHOT_BYTES_MAX:
        raise ValueError(f"the snapshot has {body_bytes} bytes, at most {_SNAPSHOT_BYTES_MAX} are read")
    body = memoryview(_CODEC.decompress(data[_HEAD.size + header_bytes :], body_bytes, asbytes=True))
    start = 0
    for _, array in sorted(tables.items()):
        array[...] = np.frombuffer(body[start : start + array.nbytes], array.dtype).reshape(array.shape)
        start += array.nbytes
    return header["facts"]


class Again:
    """Reads the runs of readings again, each partition once from front to end."""

    def __init__(self, log: Log, readings: Sequence[Reading]) -> None:
        self._log = log
        self._ends: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, int] = {}
        for run in (run for reading in readings for run in reading.runs):
            at = TopicPartition(run.topic, run.partition)
            self._starts.setdefault(at, run.start)
            self._ends[at] = run.end
        self._rest: dict[TopicPartition, Block] = {}
        self._blocks: dict[TopicPartition, Iterator[Block]] = {}

    def blocks(self, reading: Reading) -> list[Block]:
        """Return what a reading read; readings in their order. Raises Corrupt if the log does not have it."""
        found: list[Block] = []
        for run in reading.runs:
            at = TopicPartition(run.topic, run.partition)
            parts = list(self._until(at, run.end))
            if not parts or parts[0].offsets[0] != run.start or parts[-1].next_offset != run.end:
                raise Corrupt(
                    f"{at.topic}[{at.partition}]", f"offsets {run.start} to {run.end} were read, and are gone"
                )
            found += parts
        return found

    def _until(self, at: TopicPartition, end: int) -> Iterator[Block]:
        if at not in self._blocks:
            self._blocks[at] = self._log.read(
                at.topic, at.partition, start_offset=self._starts[at], end_offset=self._ends[at]
            )
        while True:
            block = self._rest.pop(at, None) or next(self._blocks[at], None)
            if block is None:
                return
            first = before(block, end)
            if first is None:
                self._rest[at] = block
                return
            yield first
            if len(first) < len(block):
                self._rest[at] = after(block, end)
                return
            if first.next_offset >= end:
                return


def after(block: Block, offset: int) -> Block:
    """Return the records at and behind an offset, of which there is one."""
    first = next(row for row, each in enumerate(block.offsets) if each >= offset)
    headers = None if block.headers is None else block.headers[first:]
    sequences = (block.offsets[first:], block.keys[first:], block.values[first:], block.timestamps_ms[first:])
    return Block(block.topic, block.partition, *sequences, headers)
