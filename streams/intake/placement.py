"""Whether records lie in the partition that their key asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, LONGS, compiled
from rheostat.streams.engine.block import Block

_SEED, _M = np.uint64(0x9747B28C), np.uint64(0x5BD1E995)
_32_BITS, _POSITIVE = np.uint64(0xFFFFFFFF), np.uint64(0x7FFFFFFF)


def misplaced(blocks: Sequence[Block], partitions: Mapping[str, int]) -> int:
    """Count the records in a partition other than murmur2 gives their key, and those without a key.

    A service with another partitioner splits an event's duplicates and its prediction over partitions.
    """
    return sum(_in_block(block, partitions[block.topic]) for block in blocks)


def _in_block(block: Block, partitions: int) -> int:
    keys = [key for key in block.keys if key is not None]
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    elsewhere = _elsewhere(np.frombuffer(b"".join(keys), np.uint8), lengths, partitions, block.partition)
    return len(block) - len(keys) + int(elsewhere)


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


@compiled(types.int64(BYTES, LONGS, types.int64, types.int64))
def _elsewhere(data: NDArray[np.uint8], lengths: NDArray[np.int64], partitions: int, partition: int) -> int:
    """Count the keys, one behind the other, that Kafka's own rule (see `schemas.partitioner`) places elsewhere."""
    count = start = 0
    for length in lengths:
        h = _SEED ^ np.uint64(length)
        whole = start + (length & ~3)
        for at in range(start, whole, 4):
            k = _times_m(_word(data, at, 4))
            h = _times_m(h) ^ _times_m(k ^ (k >> np.uint64(24)))
        start += length
        if start > whole:
            h = _times_m(h ^ _word(data, whole, start - whole))
        h = _times_m(h ^ (h >> np.uint64(13)))
        h ^= h >> np.uint64(15)
        count += np.int64(h & _POSITIVE) % partitions != partition
    return count
