"""Ledger entries as the watch reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rheostat.schemas import catalogue
from rheostat.schemas.codec import encode_record
from rheostat.streams.engine.block import Block


def entry(event_id: str, occurred_at: int, **fields: Any) -> dict[str, Any]:
    """An accepted thumb up."""
    return {
        "event_id": event_id,
        "prediction_id": f"p-{event_id}",
        "subject": "0-a",
        "target_id": "item-1",
        "channel": "explicit",
        "kind": "thumb",
        "value": 1.0,
        "certainty": 1.0,
        "segment": None,
        "retracts": None,
        "occurred_at": occurred_at,
        "source": "web",
        "weight": 1.0,
        "suspicion": 0.0,
        "reasons": None,
        "origin_topic": catalogue.FEEDBACK_EXPLICIT,
        "origin_partition": 0,
        "origin_offset": 0,
        "alarm": None,
        **fields,
    }


def entries_block(
    entries: Sequence[dict[str, Any]], *, topic: str = catalogue.LEDGER, partition: int = 0, first_offset: int = 0
) -> Block:
    """Entries as a block; every third offset is a control record's."""
    offsets = [first_offset + row + row // 2 for row in range(len(entries))]
    keys = [each["prediction_id"].encode() for each in entries]
    times = [each["occurred_at"] for each in entries]
    return Block(topic, partition, offsets, keys, [encode_record(topic, each) for each in entries], times)
