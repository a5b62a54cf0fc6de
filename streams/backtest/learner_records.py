"""The rows of a file as records of `predictions` and `feedback.ledger`, in the order in which they would have come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema, Floats
from rheostat.schemas import catalogue, codec
from rheostat.schemas.signals import KINDS, NAMES
from rheostat.streams.backtest.learner_rows import LearnerRows, Longs
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.models.version import Version

PARTITION = 0
NOBODY = "nobody"
SOURCE = "backtest"
_ORIGIN = catalogue.FEEDBACK_OUTCOME
_CHANNELS = [KINDS[name].channel or "outcome" for name in NAMES]


@dataclass(frozen=True, slots=True)
class Cut:
    """What one step takes in: predictions [first, last) in the order of time, labels likewise in theirs."""

    predictions: slice
    labels: slice
    now_ms: int


class LearnerRecords:
    """Encodes rows; predictions by their place in `rows`, labels by theirs in the order of their times."""

    def __init__(self, rows: LearnerRows, model: str, schema: FeatureSchema) -> None:
        self._rows = rows
        labelled = np.flatnonzero(rows.labelled)
        self._label_rows = labelled[np.argsort(rows.label_times_ms[labelled], kind="stable")]
        self._predictions = _predictions(rows, model, schema)
        self._ledger = _ledger(rows, self._label_rows)

    @property
    def labels(self) -> int:
        """How many labels there are."""
        return len(self._label_rows)

    def cuts(self, block_rows: int, block_ms: int | None) -> Iterator[Cut]:
        """Yield steps of at most `block_rows` arrivals, with `block_ms` such that none goes beyond a multiple of it.

        Arrivals are in the order of their times; of one moment, predictions come before labels.
        """
        times = np.concatenate([self._rows.times_ms, self._rows.label_times_ms[self._label_rows]])
        order = np.argsort(times, kind="stable")
        shown = np.concatenate([[0], np.cumsum(order < len(self._rows))])
        ends = _ends(times[order], block_rows, block_ms)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            predictions = slice(int(shown[start]), int(shown[end]))
            labels = slice(start - predictions.start, end - predictions.stop)
            yield Cut(predictions, labels, int(times[order[end - 1]]))

    def predictions(self, rows: slice, score: Floats, version: Version) -> OutBlock:
        """Return predictions as a version answered them."""
        batch = self._predictions.slice(rows.start, rows.stop - rows.start)
        count = batch.num_rows
        columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | {
            "score": pa.array(score),
            "epoch": pa.repeat(version.epoch, count),
            "sequence": pa.repeat(version.sequence, count),
        }
        return _block(catalogue.PREDICTIONS, _batch(catalogue.PREDICTIONS, columns))

    def labels_of(self, labels: slice) -> OutBlock:
        """Return labels as entries of the ledger."""
        return _block(catalogue.LEDGER, self._ledger.slice(labels.start, labels.stop - labels.start))


def _ends(times: Longs, block_rows: int, block_ms: int | None) -> list[int]:
    if block_ms is None:
        return [*range(block_rows, len(times), block_rows), len(times)]
    changes = np.flatnonzero(np.diff(times // block_ms)) + 1
    ends: list[int] = []
    for start, end in zip([0, *changes.tolist()], [*changes.tolist(), len(times)], strict=True):
        ends += [*range(start + block_rows, end, block_rows), end]
    return ends


def _block(topic: str, batch: pa.RecordBatch) -> OutBlock:
    keys = batch.column("prediction_id").cast(pa.binary()).to_pylist()
    times = batch.column("occurred_at").cast(pa.int64()).to_pylist()
    return OutBlock(topic, PARTITION, keys, codec.encode_block(topic, batch), times)


def _predictions(rows: LearnerRows, model: str, schema: FeatureSchema) -> pa.RecordBatch:
    count = len(rows)
    columns = _defaults(catalogue.PREDICTIONS, count) | {
        "prediction_id": rows.ids,
        "model": pa.repeat(model, count),
        "feature_set": pa.repeat(schema.id, count),
        "numeric": _lists(pa.array(rows.batch.numeric.ravel()), len(schema.numeric), count),
        "categorical": _lists(_interleaved(rows.categorical, count), len(schema.categorical), count),
        "target_id": _text_or_null(rows.target, count),
        "subject_id": _text_or_null(rows.actor, count),
        "segment": _text_or_null(rows.segment, count),
        "action": _text_or_null(rows.action, count),
        "propensity": pa.nulls(count, pa.float64())
        if rows.propensity is None
        else pc.if_else(pa.array(np.isnan(rows.propensity)), None, pa.array(rows.propensity)),
        "occurred_at": _moments(rows.times_ms),
        "source": pa.repeat(SOURCE, count),
    }
    return _batch(catalogue.PREDICTIONS, columns)


def _ledger(rows: LearnerRows, which: NDArray[np.intp]) -> pa.RecordBatch:
    count, take, kinds = len(which), pa.array(which), pa.array(rows.kinds[which])
    columns = _defaults(catalogue.LEDGER, count) | {
        # A row may share its prediction with others, but it is an event of its own.
        "event_id": pc.cast(take, pa.string()),
        "prediction_id": rows.ids.take(take),
        "subject": pa.repeat(NOBODY, count) if rows.actor is None else pc.fill_null(rows.actor.take(take), NOBODY),
        "target_id": _text_or_null(rows.target, len(rows)).take(take),
        "channel": pa.array(_CHANNELS).take(kinds),
        "kind": pa.array(NAMES).take(kinds),
        "value": pa.array(rows.label[which]),
        "certainty": pa.repeat(1.0, count),
        "segment": _text_or_null(rows.segment, len(rows)).take(take),
        "occurred_at": _moments(rows.label_times_ms[which]),
        "source": pa.repeat(SOURCE, count),
        "weight": pa.array(rows.weight[which]),
        "suspicion": pa.repeat(0.0, count),
        "origin_topic": pa.repeat(_ORIGIN, count),
        "origin_partition": pa.repeat(PARTITION, count),
        "origin_offset": take,
    }
    return _batch(catalogue.LEDGER, columns)


def _defaults(topic: str, count: int) -> dict[str, pa.Array]:
    """Return columns of nulls, of empty lists, or of zeros; what may be none of these must be given besides."""
    found = {}
    for field in codec.arrow_schema(topic):
        if pa.types.is_list(field.type):
            found[field.name] = _lists(pa.nulls(0, field.type.value_type), 0, count)
        else:
            found[field.name] = pa.nulls(count, field.type) if field.nullable else pa.repeat(0, count)
    return found


def _batch(topic: str, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    schema = codec.arrow_schema(topic)
    return pa.RecordBatch.from_arrays([columns[each.name].cast(each.type) for each in schema], schema=schema)


def _lists(values: pa.Array, width: int, count: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * width), values)


def _interleaved(columns: tuple[pa.StringArray, ...], count: int) -> pa.StringArray:
    """Return the texts row by row; a missing one is empty."""
    if not columns:
        return pa.array([], pa.string())
    places = np.arange(count)[:, None] + np.arange(len(columns))[None, :] * count
    return pc.fill_null(pa.concat_arrays(columns), "").take(pa.array(places.ravel()))


def _text_or_null(column: pa.StringArray | None, count: int) -> pa.StringArray:
    return pa.nulls(count, pa.string()) if column is None else column


def _moments(times_ms: Longs) -> pa.Array:
    return pa.array(times_ms).cast(pa.timestamp("ms"))
