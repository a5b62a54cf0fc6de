"""A small stage for tests of the engine: copies records whose key it has not seen; its output is its memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import EachOnItsOwn, Log, Output


@dataclass(frozen=True, slots=True)
class CopyStage(EachOnItsOwn):
    """Reads `sources`, writes every key once to `output` at the same partition number."""

    sources: tuple[str, ...] = ("in",)
    output: str = "out"
    name: str = "copy"
    assignment: Literal["group", "static"] = "group"
    tick_ms: int | None = None

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> CopyTask:
        consumed = max(
            (json.loads(each.metadata)["consumed"] for each in committed.values() if each.metadata), default=0
        )
        task = CopyTask(self.output, consumed)
        for number in partitions:
            for block in log.read(self.output, number):
                task.remember(block.keys)
        return task


class CopyTask:
    """The keys seen so far."""

    def __init__(self, output: str, consumed: int) -> None:
        self._output = output
        self.consumed = consumed
        self.seen: set[bytes | None] = set()

    def remember(self, keys: Iterable[bytes | None]) -> None:
        self.seen.update(keys)

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        out = []
        for block in blocks:
            fresh = []
            for row, key in enumerate(block.keys):
                if key not in self.seen:
                    self.seen.add(key)
                    fresh.append(row)
            self.consumed += len(block)
            if fresh:
                out.append(
                    OutBlock(
                        self._output,
                        block.partition,
                        [block.keys[row] for row in fresh],
                        [block.values[row] for row in fresh],
                        [block.timestamps_ms[row] for row in fresh],
                    )
                )
        return Output(out, json.dumps({"consumed": self.consumed}))
