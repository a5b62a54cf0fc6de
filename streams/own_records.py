"""Blocks of topics that our own stages write: a record that does not decode there is a fault of ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pyarrow as pa

from rheostat.schemas import codec
from rheostat.streams.engine.block import Block
from rheostat.streams.errors import Corrupt


def decode_own(block: Block) -> pa.RecordBatch:
    """Decode all records of a block. Raises Corrupt with topic, partition and offset of the first that does not."""
    try:
        return codec.decode_own(block.topic, block.values)
    except codec.BadRecord as error:
        failures = codec.decode_block(block.topic, block.values).failures
        offset = block.offsets[failures[0].row if failures else 0]
        raise Corrupt(f"{block.topic}[{block.partition}]@{offset}", str(error)) from error


def decode_all_own(blocks: Sequence[Block]) -> pa.RecordBatch:
    """Decode blocks of one topic, at least one, in one go; see `decode_own`."""
    if len(blocks) == 1:
        return decode_own(blocks[0])
    try:
        return codec.decode_own(blocks[0].topic, list(chain.from_iterable(block.values for block in blocks)))
    except codec.BadRecord:
        return pa.concat_batches([decode_own(block) for block in blocks])
