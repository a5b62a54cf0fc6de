"""Examples: the features of a prediction with the label of a signal, or with the default label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.join.labels import Codes, Floats, labels
from rheostat.streams.join.rows import Times
from rheostat.streams.join.settings import JoinSettings

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
    "arm",
    "action",
)
_FROM_FEEDBACK = ("subject", "kind", "weight", "occurred_at", "origin_topic", "origin_partition", "origin_offset")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions, encoded, each with a ledger entry, the code of its kind, and the time of the label in ms."""

    predictions: Sequence[bytes]
    feedback: pa.RecordBatch
    kinds: Codes
    times: Times


@dataclass(frozen=True, slots=True)
class Silent:
    """Predictions, encoded, that stayed without feedback for the window, with their own times in ms."""

    predictions: Sequence[bytes]
    times: Times


@dataclass(frozen=True, slots=True)
class Found:
    """What examples are to be made of, of one partition number."""

    partition: int
    pairs: Sequence[Pairs]
    silent: Silent | None


class _Examples(NamedTuple):
    """Their columns, and label times in ms (the record timestamps)."""

    batch: pa.RecordBatch
    times: Times


def examples(found: Sequence[Found], settings: JoinSettings) -> list[OutBlock | None]:
    """Return the examples of each partition number, None where there are none; those by default come last.

    All are made at once: a call costs more than a few records. Where silence teaches nothing, none may be silent.
    """
    pairs = [[each for each in one.pairs if len(each.times)] for one in found]
    made = [_joined(list(chain.from_iterable(pairs)))] if any(pairs) else []
    if silent := [(one.partition, one.silent) for one in found if one.silent]:
        made.append(_defaulted(silent, settings))
    if not made:
        return [None] * len(found)
    batch, times = made[0] if len(made) == 1 else _concatenated(made)
    values = codec.encode_block(catalogue.EXAMPLES, batch)
    keys = batch.column("prediction_id").view(pa.binary()).to_numpy(zero_copy_only=False).tolist()
    counts = [sum(len(each.times) for each in own) for own in pairs]
    counts += [len(one.silent.times) if one.silent else 0 for one in found]
    spans = [slice(*each) for each in pairwise(accumulate(counts, initial=0))]
    columns = keys, values, times.tolist()
    return [_dealt(one.partition, *columns, *spans[at :: len(found)]) for at, one in enumerate(found)]


def _dealt(
    partition: int, keys: list[bytes], values: list[bytes], times: list[int], pairs: slice, silent: slice
) -> OutBlock | None:
    """Return the part of one partition number, which is two spans of the whole."""
    own = keys[pairs] + keys[silent]
    if not own:
        return None
    return OutBlock(catalogue.EXAMPLES, partition, own, values[pairs] + values[silent], times[pairs] + times[silent])


def _concatenated(made: Sequence[_Examples]) -> _Examples:
    return _Examples(pa.concat_batches([each.batch for each in made]), np.concatenate([each.times for each in made]))


def _joined(pairs: Sequence[Pairs]) -> _Examples:
    """Make one example of each pair.

    Segment and target are the prediction's; where it names none, the feedback's.
    """
    predictions = codec.decode_own(catalogue.PREDICTIONS, [value for each in pairs for value in each.predictions])
    feedback = pairs[0].feedback if len(pairs) == 1 else pa.concat_batches([each.feedback for each in pairs])
    kinds = np.concatenate([each.kinds for each in pairs])
    label = labels(kinds, _floats(feedback, "value"), _floats(predictions, "score"))
    columns = {name: predictions.column(name) for name in _FROM_PREDICTION}
    columns |= {name: feedback.column(name) for name in _FROM_FEEDBACK}
    columns |= {name: _first_of(predictions.column(name), feedback.column(name)) for name in ("segment", "target_id")}
    columns |= {
        "example_id": feedback.column("event_id"),
        "label": pa.array(label),
        "label_age_ms": pa.array(_ms(feedback) - _ms(predictions)),
        "predicted_at": predictions.column("occurred_at"),
    }
    return _Examples(_batch(columns), np.concatenate([each.times for each in pairs]))


def _defaulted(silent: Sequence[tuple[int, Silent]], settings: JoinSettings) -> _Examples:
    """Make one example of each silent prediction.

    It has no feedback event of its own: its origin is `predictions`, with offset -1.
    """
    predictions = codec.decode_own(catalogue.PREDICTIONS, [value for _, each in silent for value in each.predictions])
    counts = [len(each.times) for _, each in silent]
    count = sum(counts)
    columns = {name: predictions.column(name) for name in (*_FROM_PREDICTION, "segment", "target_id")} | {
        "example_id": pc.binary_join_element_wise(DEFAULT_ID_PREFIX, predictions.column("prediction_id"), ""),
        "label": pa.repeat(settings.default_label, count),
        "weight": pa.repeat(settings.default_weight, count),
        "subject": pa.nulls(count, pa.string()),
        "kind": pa.repeat(DEFAULT_KIND, count),
        "label_age_ms": pa.repeat(settings.window_ms, count),
        "predicted_at": predictions.column("occurred_at"),
        "occurred_at": pa.array(_ms(predictions) + settings.window_ms),
        "origin_topic": pa.repeat(catalogue.PREDICTIONS, count),
        "origin_partition": pa.array(np.repeat([partition for partition, _ in silent], counts)),
        "origin_offset": pa.repeat(-1, count),
    }
    return _Examples(_batch(columns), np.concatenate([each.times for _, each in silent]) + settings.window_ms)


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    rows = len(columns["example_id"])
    columns |= {name: pa.repeat(0, rows) for name in ("revision", "was_label", "was_weight")}
    # Columns of another type are cast.
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _first_of(column: pa.Array, other: pa.Array) -> pa.Array:
    if column.null_count in (0, len(column)):
        return other if column.null_count else column
    return pc.coalesce(column, other)


def _floats(batch: pa.RecordBatch, name: str) -> Floats:
    return np.asarray(batch.column(name), np.float64)


def _ms(batch: pa.RecordBatch) -> Times:
    return np.asarray(batch.column("occurred_at").view(pa.int64()), np.int64)
