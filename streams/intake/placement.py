"""Whether records lie in the partition that their key asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rheostat.schemas.partitioner import partitions_for
from rheostat.streams.engine.block import Block


def misplaced(blocks: Sequence[Block], partitions: Mapping[str, int]) -> int:
    """Count the records in a partition other than murmur2 gives their key, and those without a key.

    A service with another partitioner splits an event's duplicates and its prediction over partitions.
    """
    return sum(_in_block(block, partitions[block.topic]) for block in blocks)


def _in_block(block: Block, partitions: int) -> int:
    keys = block.keys if None not in block.keys else [key for key in block.keys if key is not None]
    keyless = len(block) - len(keys)
    if partitions == 1 or not keys:
        return keyless
    asked = partitions_for(keys, partitions)  # type: ignore[arg-type]
    return keyless + int(np.count_nonzero(asked != block.partition))
