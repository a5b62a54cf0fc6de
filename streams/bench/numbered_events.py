"""Simulated feedback in which an event is a function of its number: a repeated number is a repeated event.

Valid events of all three channels from 20,000 subjects on 5,000 targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema, encode_block
from rheostat.streams.engine.broker import Producer
from rheostat.streams.errors import Retryable

Longs = NDArray[np.int64]

SUBJECTS = 20_000
TARGETS = 5_000
_FLUSH_TIMEOUT_MS = 60_000
_KINDS = (
    (catalogue.FEEDBACK_EXPLICIT, ("thumb", "accept", "correct", "incorrect")),
    (catalogue.FEEDBACK_IMPLICIT, ("click", "copy", "dismiss", "undo")),
    (catalogue.FEEDBACK_OUTCOME, ("conversion", "task_completed")),
)
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd 128-bit factor that makes ids of numbers look random."""


class Numbered(NamedTuple):
    """A record to send."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


def event_id(number: int) -> str:
    """Return the id of an event."""
    return f"{(number + 1) * _SPREAD % 2**128:032x}"


def feedback(numbers: Longs, times_ms: Longs) -> Iterator[Numbered]:
    """Yield events as services send them, channel by channel."""
    for remainder, (topic, kinds) in enumerate(_KINDS):
        of_topic = numbers % len(_KINDS) == remainder
        chosen, times = numbers[of_topic], times_ms[of_topic]
        ids = list(map(event_id, chosen.tolist()))
        kind = pa.DictionaryArray.from_arrays(pa.array(chosen // len(_KINDS) % len(kinds)), pa.array(kinds))
        columns = {
            **_shared(ids, chosen, times),
            "subject_id": pa.array([f"user-{number * 7_919 % SUBJECTS}" for number in chosen.tolist()], pa.string()),
            "kind": kind.cast(pa.string()),
            "value": pa.array((chosen // 7 % 3 > 0).astype(np.float64)),
            "consent": pa.array([True] * len(ids), pa.bool_()),
        }
        yield from _records(topic, ids, columns, times)


def ledger_entries(numbers: Longs, times_ms: Longs) -> Iterator[Numbered]:
    """Yield the entries that intake makes of clicks; one channel is enough where only ids matter."""
    ids = list(map(event_id, numbers.tolist()))
    always = {"value": 1.0, "certainty": 1.0, "weight": 1.0, "suspicion": 0.0}
    columns = {
        **_shared(ids, numbers, times_ms),
        "subject": pa.array([f"1-{number * 7_919 % SUBJECTS:016x}" for number in numbers.tolist()], pa.string()),
        "channel": pa.repeat("implicit", len(ids)),
        "kind": pa.repeat("click", len(ids)),
        **{name: pa.repeat(value, len(ids)) for name, value in always.items()},
        "origin_topic": pa.repeat(catalogue.FEEDBACK_IMPLICIT, len(ids)),
        "origin_partition": pa.repeat(pa.scalar(0, pa.int32()), len(ids)),
        "origin_offset": pa.array(numbers),
    }
    return _records(catalogue.LEDGER, ids, columns, times_ms)


def send_all(producer: Producer, records: Iterable[Numbered]) -> None:
    """Send records to where their keys belong, waiting while the send queue is full."""
    for record in records:
        while True:
            try:
                producer.send(record.topic, record.key, record.value, timestamp_ms=record.timestamp_ms)
                break
            except Retryable:
                flush(producer)


def flush(producer: Producer) -> None:
    """Wait until the broker has everything. Raises RuntimeError if it does not take it."""
    if producer.flush(_FLUSH_TIMEOUT_MS):
        raise RuntimeError("the broker did not take the input")


def _shared(ids: list[str], numbers: Longs, times_ms: Longs) -> dict[str, pa.Array]:
    """Return the columns that feedback and ledger entries have in common."""
    return {
        "event_id": pa.array(ids, pa.string()),
        "prediction_id": pa.array([f"p-{each}" for each in ids], pa.string()),
        "target_id": pa.array([f"item-{number * 104_729 % TARGETS}" for number in numbers.tolist()], pa.string()),
        "occurred_at": pa.array(times_ms).cast(pa.timestamp("ms")),
        "source": pa.array(["bench"] * len(ids), pa.string()),
    }


def _records(topic: str, ids: list[str], columns: Mapping[str, pa.Array], times_ms: Longs) -> Iterator[Numbered]:
    schema = arrow_schema(topic)
    batch = pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema
    )
    for each, value, at_ms in zip(ids, encode_block(topic, batch), times_ms.tolist(), strict=True):
        yield Numbered(topic, f"p-{each}".encode(), value, at_ms)
