"""One partition of the in-memory broker: an append-only log with transactions and control records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rheostat.streams.engine.block import Block, Committed, Headers, OutBlock, TopicPartition


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction: which logs it touched, and the consumed positions it will commit per group."""

    transactional_id: str
    state: Literal["open", "committed", "aborted"] = "open"
    logs: list[PartitionLog] = field(default_factory=list)
    offsets: dict[tuple[str, TopicPartition], Committed] = field(default_factory=dict)


class Entry(NamedTuple):
    """One slot of a log; control records (commit and abort markers) take an offset and are never delivered."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers | None
    transaction: Transaction | None
    control: bool = False

    def visible(self) -> bool:
        """Whether a read_committed reader gets this entry."""
        return not self.control and (self.transaction is None or self.transaction.state == "committed")


_FORGOTTEN = Entry(None, None, 0, None, None)


class PartitionLog:
    """Entries by offset. Not thread-safe: the cluster's lock is held by every caller."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.low_watermark = 0
        self._entries: list[Entry] = []
        self._open: dict[Transaction, int] = {}

    @property
    def high_watermark(self) -> int:
        """The offset the next record will get."""
        return len(self._entries)

    @property
    def last_stable_offset(self) -> int:
        """Where read_committed readers stop: the first offset of the oldest open transaction, else the end."""
        return min(self._open.values(), default=self.high_watermark)

    def append(self, block: OutBlock, transaction: Transaction | None) -> None:
        """Add the records of a block, in order."""
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.high_watermark
            transaction.logs.append(self)
        headers: Sequence[Headers | None] = block.headers or [None] * len(block)
        self._entries.extend(
            Entry(key, value, timestamp, header, transaction)
            for key, value, timestamp, header in zip(
                block.keys, block.values, block.timestamps_ms, headers, strict=True
            )
        )

    def end(self, transaction: Transaction, now_ms: int) -> None:
        """Write the marker of a transaction that was committed or aborted; it carries the broker's own time."""
        if self._open.pop(transaction, None) is not None:
            self._entries.append(Entry(None, None, now_ms, None, None, control=True))

    def delete_before(self, offset: int) -> None:
        """Forget the records before `offset`, as retention does."""
        low = max(self.low_watermark, min(offset, self.high_watermark))
        self._entries[self.low_watermark : low] = [_FORGOTTEN] * (low - self.low_watermark)
        self.low_watermark = low

    def offset_since(self, since_ms: int) -> int:
        """Return the offset of the first entry at or after a time (markers count, as in Kafka), else the end."""
        for offset in range(self.low_watermark, self.high_watermark):
            if self._entries[offset].timestamp_ms >= since_ms:
                return offset
        return self.high_watermark

    def read(self, position: int, records_max: int, end: int | None = None) -> tuple[Block | None, int]:
        """Return up to `records_max` visible records from `position`, and the position after them.

        Stops at the last stable offset and before `end`. The position moves over what is not visible.
        """
        limit = self.last_stable_offset if end is None else min(end, self.last_stable_offset)
        position = max(position, self.low_watermark)
        taken: list[tuple[int, Entry]] = []
        while position < limit and len(taken) < records_max:
            entry = self._entries[position]
            if entry.visible():
                taken.append((position, entry))
            position += 1
        return self._block(taken), position

    def _block(self, taken: Sequence[tuple[int, Entry]]) -> Block | None:
        if not taken:
            return None
        headers = [entry.headers for _, entry in taken]
        return Block(
            self.topic,
            self.partition,
            [offset for offset, _ in taken],
            [entry.key for _, entry in taken],
            [entry.value for _, entry in taken],
            [entry.timestamp_ms for _, entry in taken],
            headers if any(headers) else None,
        )
