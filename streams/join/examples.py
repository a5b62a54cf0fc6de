"""Examples: the features of a prediction with the label of a signal, or with the default label."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.join.labels import labels
from rheostat.streams.join.rows import Times

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


def joined(predictions: pa.RecordBatch, feedback: pa.RecordBatch, times: Times, partition: int) -> OutBlock:
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
    return _block(columns | {name: feedback.column(name) for name in same}, times, partition)


def defaulted(
    predictions: pa.RecordBatch, times: Times, partition: int, *, label: float, weight: float, window_ms: int
) -> OutBlock:
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
    return _block(columns, times + window_ms, partition)


def _block(columns: dict[str, pa.Array], times: Times, partition: int) -> OutBlock:
    schema = codec.arrow_schema(catalogue.EXAMPLES)
    batch = pa.RecordBatch.from_arrays(
        [columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema
    )
    keys = map(str.encode, columns["prediction_id"].to_numpy(zero_copy_only=False).tolist())
    return OutBlock(
        catalogue.EXAMPLES, partition, list(keys), codec.encode_block(catalogue.EXAMPLES, batch), times.tolist()
    )


def _floats(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    return np.asarray(batch.column(name), np.float64)


def _age_ms(predicted_at: pa.Array, occurred_at: pa.Array) -> pa.Array:
    return pc.subtract(occurred_at.cast(pa.int64()), predicted_at.cast(pa.int64()))


def _repeated(value: float | str, count: int) -> pa.Array:
    return pa.repeat(value, count)
