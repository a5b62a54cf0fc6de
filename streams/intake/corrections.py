"""Records of `feedback.corrections`: entries of the ledger that keep less of their weight because of a conflict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema, encode_block
from rheostat.schemas.signals import KINDS, NAMES
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.intake.settings import ConflictPolicy
from rheostat.streams.intake.weigher import CONFLICT, Correction

CAUSE = "conflict"
_TOPICS = {
    "explicit": catalogue.FEEDBACK_EXPLICIT,
    "implicit": catalogue.FEEDBACK_IMPLICIT,
    "outcome": catalogue.FEEDBACK_OUTCOME,
}


def corrected(
    corrections: Sequence[Correction], entries: pa.RecordBatch, partition: int, policy: ConflictPolicy
) -> OutBlock:
    """Return corrections as records, of the time of the entry that caused them; their rows are those of `entries`."""
    causes = entries.take(pa.array([each.row for each in corrections], pa.int64()))
    ids, kinds = causes.column("event_id").to_pylist(), causes.column("kind").to_pylist()
    predictions: list[str] = causes.column("prediction_id").to_pylist()
    times_ms: list[int] = causes.column("occurred_at").cast(pa.int64()).to_pylist()
    records = [
        _record(each, prediction, lost_to(policy, kind, event_id) if policy != "weighted-vote" else kept(each.keeps))
        for each, prediction, kind, event_id in zip(corrections, predictions, kinds, ids, strict=True)
    ]
    batch = pa.RecordBatch.from_pylist(records, schema=arrow_schema(catalogue.CORRECTIONS))
    values = encode_block(catalogue.CORRECTIONS, batch)
    return OutBlock(catalogue.CORRECTIONS, partition, [each.encode() for each in predictions], values, times_ms)


def lost_to(policy: ConflictPolicy, kind: str, event_id: str) -> str:
    """Say what an event lost to."""
    return f"{CONFLICT}{policy}): lost to {kind} {event_id}"


def kept(share: float) -> str:
    """Say what an event keeps."""
    return f"{CONFLICT}weighted-vote): its side has {share:.2f} of the weight"


def _record(correction: Correction, prediction_id: str, reasons: str) -> dict[str, Any]:
    entry = correction.entry
    channel = KINDS[NAMES[entry.kind]].channel
    assert channel is not None, "a retraction contradicts nothing"
    return {
        "event_id": entry.event_id,
        "prediction_id": prediction_id,
        "target_id": entry.target_id,
        "kind": NAMES[entry.kind],
        "value": entry.value,
        "occurred_at": entry.time_ms,
        "weight": entry.weight,
        "cause": CAUSE,
        "keeps": correction.keeps,
        "reasons": reasons,
        "alarm": None,
        "origin_topic": _TOPICS[channel],
        "origin_partition": entry.partition,
        "origin_offset": entry.offset,
    }
