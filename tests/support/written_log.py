"""A log in lists, for driving one task by hand: what the task writes is what the next one is opened from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.packed import Packed, packed
from rheostat.streams.engine.stage import Output, Stage, Task


class WrittenLog:
    """Partition 0 of any topic; offsets have gaps, as control records make them."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[Block]] = defaultdict(list)
        self._next: dict[str, int] = defaultdict(int)

    def append(
        self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes | None], times: Sequence[int]
    ) -> Block:
        start = self._next[topic]
        self._next[topic] = start + len(values) + 1
        block = Block(topic, 0, range(start, start + len(values)), keys, values, times)
        self.blocks[topic].append(block)
        return block

    def partitions(self, topic: str) -> int:
        return 1

    def read(
        self,
        topic: str,
        partition: int,
        *,
        start_offset: int | None = None,
        since_ms: int | None = None,
        end_offset: int | None = None,
    ) -> Iterator[Block]:
        rows = [
            (offset, key, value, time)
            for block in self.blocks[topic]
            for offset, key, value, time in zip(
                block.offsets, block.keys, block.values, block.timestamps_ms, strict=True
            )
            if (end_offset is None or offset < end_offset) and (start_offset is None or offset >= start_offset)
        ]
        first = next((row for row, each in enumerate(rows) if since_ms is None or each[3] >= since_ms), len(rows))
        for at in range(first, len(rows), 3):
            offsets, keys, values, times = zip(*rows[at : at + 3], strict=True)
            yield Block(topic, partition, offsets, keys, values, times)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self._next[topic]

    def read_packed(self, topic: str, partition: int, *, since_ms: int | None = None) -> Iterator[Packed]:
        return map(packed, self.read(topic, partition, since_ms=since_ms))


class Driver:
    """Opens a stage over partition 0 of everything and commits what it returns."""

    def __init__(self, stage: Stage, now_ms: int) -> None:
        self.stage = stage
        self.log = WrittenLog()
        self.now_ms = now_ms
        self.written: list[OutBlock] = []
        self._committed = {TopicPartition(topic, 0): Committed(None, "") for topic in stage.sources}
        self.task: Task
        self.reopen()

    def reopen(self) -> None:
        """Throw the task away and open a new one from the log, as after a crash."""
        self.task = self.stage.open([0], dict(self._committed), self.log, self.now_ms)

    def feed(self, *blocks: Block) -> Output:
        """Process blocks (none: a tick) and commit."""
        output = self.task.process(list(blocks), self.now_ms)
        for out in output.records:
            self.written.append(out)
            self.log.append(out.topic, out.keys, out.values, out.timestamps_ms)
        for block in blocks:
            self._committed[TopicPartition(block.topic, 0)] = Committed(block.next_offset, output.metadata)
        return output
