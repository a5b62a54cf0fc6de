"""Events that a person released from quarantine: they enter the ledger after all, at the time they happened."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import Failure, arrow_schema, decode_block, encode_block
from rheostat.schemas.signals import default_weights
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.intake.deduplicate import repeated
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.intake.memory import Memory
from rheostat.streams.intake.written import Written, picked

REASON = "released from quarantine"


class Released(NamedTuple):
    """What came of released events of one partition number."""

    entered: Written | None
    duplicates: int
    failures: list[tuple[int, Failure]]


def enter(memory: Memory, partition: int, blocks: Sequence[Block]) -> Released:
    """Enter quarantined events, as encoded, into the ledger, unless their ids are there already.

    Their weight is what it would have been without suspicion. A failure comes with the index of its block.
    """
    decoded = decode_block(catalogue.QUARANTINE, list(itertools.chain.from_iterable(block.values for block in blocks)))
    starts = list(itertools.accumulate(map(len, blocks), initial=0))
    failures = []
    for failure in decoded.failures:
        block = int(np.searchsorted(starts, failure.row, "right")) - 1
        failures.append((block, failure._replace(row=failure.row - starts[block])))
    ids = fingerprints(decoded.batch.column("event_id"))
    fresh = ~(memory.accepted.seen(ids) | repeated(ids))
    rows = np.flatnonzero(fresh)
    duplicates = len(fresh) - len(rows)
    if not len(rows):
        return Released(None, duplicates, failures)
    batch = _entries(decoded.batch.take(pa.array(rows)))
    at = decoded.rows[rows]
    keys = picked(list(itertools.chain.from_iterable(block.keys for block in blocks)), at)
    times_ms = batch.column("occurred_at").to_numpy().view(np.int64)
    memory.accepted.remember(ids.take(rows), times_ms)
    out = OutBlock(catalogue.LEDGER, partition, keys, encode_block(catalogue.LEDGER, batch), times_ms.tolist())
    return Released(Written(out, batch, np.arange(len(rows)), times_ms), duplicates, failures)


def _entries(held: pa.RecordBatch) -> pa.RecordBatch:
    weight = default_weights(held.column("kind")) * _floats(held, "certainty")
    reasons = pc.binary_join_element_wise(REASON, held.column("reasons"), "; ", null_handling="skip")
    changed = {"weight": pa.array(weight), "reasons": reasons}
    schema = arrow_schema(catalogue.LEDGER)
    columns = [changed.get(name, held.column(name)) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _floats(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    return np.asarray(batch.column(name).to_numpy(), np.float64)
