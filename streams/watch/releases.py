"""Accepted events that a person released: no alarm takes weight from them any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.intake.released import is_accepted
from rheostat.streams.watch.history import picked
from rheostat.streams.watch.rows import Rows, concatenated, read_rows


def accepted_rows(blocks: Sequence[Block]) -> Rows:
    """Return those released events that were in the ledger, not in quarantine: their records say so by their schema."""
    return concatenated([read_rows([]), *(read_rows([_of_ledger(block)]) for block in blocks)])


def accepted_ids(log: Log, ends: Mapping[TopicPartition, int]) -> set[str]:
    """Return the ids of accepted events released up to the given offsets."""
    found: set[str] = set()
    for at, end in ends.items():
        if at.topic == catalogue.RELEASED:
            blocks = log.read(at.topic, at.partition, end_offset=end)
            found.update(*(accepted_rows([block]).batch.column("event_id").to_pylist() for block in blocks))
    return found


def _of_ledger(block: Block) -> Block:
    """Return the records with the ledger's schema, as a block of the ledger. Their offsets mean nothing."""
    return replace(
        picked(block, np.array([is_accepted(value) for value in block.values], np.bool_)), topic=catalogue.LEDGER
    )
