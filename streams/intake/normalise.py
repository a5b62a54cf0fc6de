"""Builds ledger entries from events: normalised values, pseudonyms, weight, suspicion and origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.arrivals import CHANNELS, Arrivals
from rheostat.streams.intake.bursts import Scores

Floats = NDArray[np.float64]

_ITSELF = {topic: topic for topic in CHANNELS}
_AS_THEY_ARE = ("event_id", "prediction_id", "target_id", "kind", "segment", "retracts", "occurred_at", "source")


def certainties(arrivals: Arrivals) -> Floats:
    """Return the user's own certainty, 1 where none was given."""
    column = arrivals.batch.column("certainty")
    if column.null_count == len(column):
        return np.ones(len(column))
    return np.asarray(column.fill_null(1.0).to_numpy(zero_copy_only=False), np.float64)


def entries(
    arrivals: Arrivals,
    blocks: Sequence[Block],
    subjects: pa.StringArray,
    certainty: Floats,
    weight: Floats,
    scores: Scores,
    alarms: NDArray[np.int64] | None,
) -> pa.RecordBatch:
    """Return the rows of `feedback.ledger`; those of `feedback.quarantine` have the same fields.

    alarms: the number of the alarm that holds back each event, 0 for none; None where none holds back any.
    """
    columns = {name: arrivals.batch.column(name) for name in _AS_THEY_ARE}
    columns["subject"] = subjects
    columns["channel"] = _by_topic(arrivals, blocks, CHANNELS)
    columns["value"] = pa.array(arrivals.signals.normalised)
    columns["certainty"] = pa.array(certainty)
    columns["weight"] = pa.array(weight)
    columns["suspicion"] = pa.array(scores.suspicion)
    columns["reasons"] = scores.reasons_column()
    columns["origin_topic"] = _by_topic(arrivals, blocks, _ITSELF)
    columns["origin_partition"] = pa.array(np.array([block.partition for block in blocks], np.int32)[arrivals.block])
    columns["origin_offset"] = pa.array(_origin_offsets(arrivals, blocks))
    columns["alarm"] = pa.nulls(len(arrivals), pa.int64()) if alarms is None else pa.array(alarms, mask=alarms == 0)
    schema = arrow_schema(catalogue.LEDGER)
    return pa.RecordBatch.from_arrays(list(map(columns.__getitem__, schema.names)), schema=schema)


def _by_topic(arrivals: Arrivals, blocks: Sequence[Block], names: Mapping[str, str]) -> pa.StringArray:
    """Return a name for each row by the topic it came from."""
    topics = list(dict.fromkeys(block.topic for block in blocks))
    if len(topics) == 1:
        return pa.repeat(names[topics[0]], len(arrivals))
    of_block = np.array([topics.index(block.topic) for block in blocks])
    # A block that no row is of may have any topic.
    return pa.array([names.get(topic, "") for topic in topics]).take(pa.array(of_block[arrivals.block]))


def _origin_offsets(arrivals: Arrivals, blocks: Sequence[Block]) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(block.offsets, np.int64) for block in blocks])[arrivals.at]
