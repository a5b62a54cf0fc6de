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
from rheostat.schemas.ids import in_force
from rheostat.schemas.record_codec import HEADER_BYTES, wire_id
from rheostat.schemas.signals import codes_of, default_weights
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.intake.deduplicate import repeated
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.intake.memory import Memory
from rheostat.streams.intake.settings import WeightSettings
from rheostat.streams.intake.weigh import weigh_among_others
from rheostat.streams.intake.weigher import candidates
from rheostat.streams.intake.written import Written, picked

REASON = "released from quarantine"


class Released(NamedTuple):
    """What came of released events of one partition number."""

    entered: Written | None
    duplicates: int
    failures: list[tuple[int, Failure]]
    corrections: OutBlock | None = None


def enter(memory: Memory, partition: int, blocks: Sequence[Block], settings: WeightSettings) -> Released:
    """Enter quarantined events, as encoded, into the ledger, unless their ids are there already.

    They are weighed as if nothing had been suspicious, and however late they come. A failure comes with the index of
    its block. Records with the schema of the ledger are of accepted events, to which the watch gives their weight back:
    they are duplicates.
    """
    values = list(itertools.chain.from_iterable(block.values for block in blocks))
    decoded = decode_block(catalogue.QUARANTINE, values)
    starts = list(itertools.accumulate(map(len, blocks), initial=0))
    failures = []
    for failure in decoded.failures:
        if is_accepted(values[failure.row]):
            continue
        block = int(np.searchsorted(starts, failure.row, "right")) - 1
        failures.append((block, failure._replace(row=failure.row - starts[block])))
    ids = fingerprints(decoded.batch.column("event_id"))
    fresh = ~(memory.accepted.seen(ids) | repeated(ids))
    rows = np.flatnonzero(fresh)
    duplicates = len(values) - len(rows) - len(failures)
    if not len(rows):
        return Released(None, duplicates, failures)
    batch = _entries(decoded.batch.take(pa.array(rows)))
    everything = [(0, np.arange(len(rows)))]
    given = candidates(batch, codes_of(batch.column("kind")), ids.take(rows))
    batch, corrections = weigh_among_others([memory.weigher], everything, batch, given, [partition], settings)
    at = decoded.rows[rows]
    keys = picked(list(itertools.chain.from_iterable(block.keys for block in blocks)), at)
    times_ms = batch.column("occurred_at").to_numpy().view(np.int64)
    memory.accepted.remember(ids.take(rows), times_ms)
    out = OutBlock(catalogue.LEDGER, partition, keys, encode_block(catalogue.LEDGER, batch), times_ms.tolist())
    return Released(Written(out, batch, np.arange(len(rows)), times_ms), duplicates, failures, corrections.get(0))


def _entries(held: pa.RecordBatch) -> pa.RecordBatch:
    weight = default_weights(held.column("kind")) * _floats(held, "certainty")
    reasons = pc.binary_join_element_wise(REASON, held.column("reasons"), "; ", null_handling="skip")
    changed = {"weight": pa.array(weight), "reasons": reasons}
    schema = arrow_schema(catalogue.LEDGER)
    columns = [changed.get(name, held.column(name)) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _floats(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    return np.asarray(batch.column(name).to_numpy(), np.float64)


def is_accepted(value: bytes | None) -> bool:
    """Whether a value is a record of the ledger."""
    named = value is not None and len(value) >= HEADER_BYTES and value[0] == 0
    return named and in_force().name_of(wire_id(value or b"")) == catalogue.LEDGER
