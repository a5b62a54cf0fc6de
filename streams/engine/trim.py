"""Cut blocks: by time at the front, by offset at the end."""

from __future__ import annotations

from bisect import bisect_left

from rheostat.streams.engine.block import Block


def skip_older(block: Block, since_ms: int) -> Block | None:
    """Drop the leading records before a time: a commit marker's own time can make a search by time start early."""
    for index, timestamp in enumerate(block.timestamps_ms):
        if timestamp >= since_ms:
            return _cut(block, index, len(block))
    return None


def before(block: Block, end_offset: int) -> Block | None:
    """Drop the records at and after an offset."""
    return _cut(block, 0, bisect_left(block.offsets, end_offset))


def _cut(block: Block, first: int, end: int) -> Block | None:
    if first >= end:
        return None
    if first == 0 and end == len(block):
        return block
    headers = None if block.headers is None else block.headers[first:end]
    return Block(
        block.topic,
        block.partition,
        block.offsets[first:end],
        block.keys[first:end],
        block.values[first:end],
        block.timestamps_ms[first:end],
        headers,
    )
