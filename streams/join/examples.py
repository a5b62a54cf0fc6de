"""Examples: the features of a prediction with the label of a signal, or with the default label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.join.labels import labels
from rheostat.streams.join.rows import Times

SCHEMA = codec.arrow_schema(catalogue.EXAMPLES)
DEFAULT_KIND = "default"
DEFAULT_ID_PREFIX = "default:"
_FROM_PREDICTION = (
    "prediction_id",
    "feature_set",
    "numeric",
    "categorical",
    "propensity",
    "score",
    "model",
    "epoch",
    "sequence",
)
PREDICTION_COLUMNS = (*_FROM_PREDICTION, "segment", "target_id", "occurred_at", "expires_at")
FEEDBACK_COLUMNS = (
    "event_id",
    "subject",
    "target_id",
    "kind",
    "value",
    "segment",
    "occurred_at",
    "weight",
    "origin_topic",
    "origin_partition",
    "origin_offset",
)


def columns_schema(topic: str, columns: tuple[str, ...]) -> pa.Schema:
    """Return the Arrow schema of some columns of a topic."""
    whole = codec.arrow_schema(topic)
    return pa.schema([whole.field(name) for name in columns])


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples still to be encoded: their columns, and label times in ms (the record timestamps)."""

    batch: pa.RecordBatch
    times: Times


NONE = Examples(pa.RecordBatch.from_pylist([], schema=SCHEMA), np.zeros(0, np.int64))


def joined(predictions: pa.RecordBatch, feedback: pa.RecordBatch, times: Times) -> Examples:
    """Make one example of each pair of rows. `times` are the label times.

    Segment and target are the prediction's; where it names none, the feedback's.
    """
    kinds = feedback.column("kind")
    columns = {name: predictions.column(name) for name in _FROM_PREDICTION} | {
        "example_id": feedback.column("event_id"),
        "label": pa.array(labels(kinds, _floats(feedback, "value"), _floats(predictions, "score"))),
        "segment": pc.coalesce(predictions.column("segment"), feedback.column("segment")),
        "target_id": pc.coalesce(predictions.column("target_id"), feedback.column("target_id")),
        "label_age_ms": _age_ms(predictions.column("occurred_at"), feedback.column("occurred_at")),
        "predicted_at": predictions.column("occurred_at"),
    }
    same = ("subject", "kind", "weight", "occurred_at", "origin_topic", "origin_partition", "origin_offset")
    return _examples(columns | {name: feedback.column(name) for name in same}, times)


def defaulted(
    predictions: pa.RecordBatch, times: Times, partition: int, *, label: float, weight: float, window_ms: int
) -> Examples:
    """Make one example of each prediction that stayed without feedback for the window. `times` are its own.

    It has no feedback event of its own: its origin is `predictions`, with offset -1.
    """
    count = predictions.num_rows
    ids = predictions.column("prediction_id")
    predicted_at = predictions.column("occurred_at")
    given_at = pa.array(np.asarray(predicted_at.cast(pa.int64())) + window_ms).cast(predicted_at.type)
    columns = {name: predictions.column(name) for name in (*_FROM_PREDICTION, "segment", "target_id")} | {
        "example_id": pc.binary_join_element_wise(DEFAULT_ID_PREFIX, ids, ""),
        "label": _repeated(label, count),
        "weight": _repeated(weight, count),
        "subject": pa.nulls(count, pa.string()),
        "kind": _repeated(DEFAULT_KIND, count),
        "label_age_ms": _repeated(window_ms, count),
        "predicted_at": predicted_at,
        "occurred_at": given_at,
        "origin_topic": _repeated(catalogue.PREDICTIONS, count),
        "origin_partition": _repeated(partition, count),
        "origin_offset": _repeated(-1, count),
    }
    return _examples(columns, times + window_ms)


def encode(made: Sequence[Examples], partition: int) -> OutBlock | None:
    """Return the records of all examples, in order; None when there are none. One encoder call, which costs ms."""
    filled = [each for each in made if len(each.times)]
    if not filled:
        return None
    batch = filled[0].batch if len(filled) == 1 else pa.concat_batches([each.batch for each in filled])
    keys = list(map(str.encode, batch.column("prediction_id").to_numpy(zero_copy_only=False).tolist()))
    times = np.concatenate([each.times for each in filled]).tolist()
    return OutBlock(catalogue.EXAMPLES, partition, keys, codec.encode_block(catalogue.EXAMPLES, batch), times)


def _examples(columns: dict[str, pa.Array], times: Times) -> Examples:
    typed = [_typed(columns[field.name], field.type) for field in SCHEMA]
    return Examples(pa.RecordBatch.from_arrays(typed, schema=SCHEMA), times)


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column if column.type == kind else column.cast(kind)


def _floats(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    return np.asarray(batch.column(name), np.float64)


def _age_ms(predicted_at: pa.Array, occurred_at: pa.Array) -> pa.Array:
    return pc.subtract(occurred_at.cast(pa.int64()), predicted_at.cast(pa.int64()))


def _repeated(value: float | str, count: int) -> pa.Array:
    return pa.repeat(value, count)
