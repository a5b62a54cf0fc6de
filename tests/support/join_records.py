"""Predictions and ledger entries for tests of the join."""

from __future__ import annotations

from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from tests.support.written_log import WrittenLog

T0 = 1_760_000_000_000


def prediction(prediction_id: str, at_ms: int, **changes: Any) -> dict[str, Any]:
    return {
        "prediction_id": prediction_id,
        "model": "linear",
        "epoch": 1,
        "sequence": 7,
        "feature_set": "f@1",
        "numeric": [1.5, -2.0],
        "categorical": ["a"],
        "score": 0.7,
        "occurred_at": at_ms,
        "source": "server-1",
    } | changes


def entry(event_id: str, prediction_id: str | None, at_ms: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "prediction_id": prediction_id,
        "subject": "1:ab",
        "channel": "explicit",
        "kind": "thumb",
        "value": 1.0,
        "certainty": 1.0,
        "occurred_at": at_ms,
        "source": "svc",
        "weight": 1.0,
        "suspicion": 0.0,
        "origin_topic": catalogue.FEEDBACK_EXPLICIT,
        "origin_partition": 0,
        "origin_offset": 42,
    } | changes


def correction(event: dict[str, Any], cause: str, keeps: float, **changes: Any) -> dict[str, Any]:
    """Return the correction of a ledger entry."""
    as_they_are = ("event_id", "prediction_id", "kind", "value", "occurred_at", "weight")
    origin = ("origin_topic", "origin_partition", "origin_offset")
    return {name: event[name] for name in (*as_they_are, *origin)} | {"cause": cause, "keeps": keeps} | changes


def append(log: WrittenLog, topic: str, records: list[dict[str, Any]]) -> Block:
    """Write records to partition 0 and return them as the block a stage gets; their time is `occurred_at`."""
    keys = [(each["prediction_id"] or "nobody").encode() for each in records]
    values = [codec.encode_record(topic, each) for each in records]
    return log.append(topic, keys, values, [each["occurred_at"] for each in records])
