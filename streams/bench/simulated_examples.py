"""Simulated examples as the join writes them: which answer of an assistant was accepted, by a noisy linear rule."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema, encode_block
from rheostat.streams.bench.numbered_events import flush
from rheostat.streams.engine.broker import Producer
from rheostat.streams.errors import Retryable

EXAMPLES_PER_MS = 20
CATEGORIES = 20_000
SUBJECTS = 20_000
TARGETS = 5_000
SEGMENTS = ("api", "desktop", "mobile", "web")
_BLOCK = 10_000
_LABEL_AGE_MEAN_MS = 30_000
_NOISE = 1.0
_ZIPF = 1.3


def schema_of(numeric: int, categorical: int) -> FeatureSchema:
    """Return a feature set of this many features of each kind."""
    return FeatureSchema(
        "bench@1", tuple(f"x{index}" for index in range(numeric)), tuple(f"c{index}" for index in range(categorical))
    )


def write_examples(producer: Producer, schema: FeatureSchema, count: int) -> None:
    """Write examples, each where its prediction's id belongs, and wait until the broker has all of them.

    Numeric features are normal; the categories of one follow Zipf's law, so that few are frequent and most are rare.
    """
    random = np.random.default_rng(0)
    truth = random.normal(size=len(schema.numeric))
    oldest_ms = time.time_ns() // 1_000_000 - count // EXAMPLES_PER_MS
    for start in range(0, count, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, count))
        times_ms = oldest_ms + numbers // EXAMPLES_PER_MS
        batch = _batch(schema, numbers, times_ms, truth, random)
        keys = batch.column("prediction_id").to_pylist()
        for key, value, at_ms in zip(keys, encode_block(catalogue.EXAMPLES, batch), times_ms.tolist(), strict=True):
            _send(producer, key.encode(), value, at_ms)
    flush(producer)


def _send(producer: Producer, key: bytes, value: bytes, at_ms: int) -> None:
    while True:
        try:
            producer.send(catalogue.EXAMPLES, key, value, timestamp_ms=at_ms)
            return
        except Retryable:
            flush(producer)


def _batch(
    schema: FeatureSchema,
    numbers: NDArray[np.int64],
    times_ms: NDArray[np.int64],
    truth: NDArray[np.float64],
    random: np.random.Generator,
) -> pa.RecordBatch:
    rows, width = len(numbers), len(schema.categorical)
    inputs = random.normal(size=(rows, len(schema.numeric)))
    ids = _ids(random, rows)
    ages_ms = random.exponential(_LABEL_AGE_MEAN_MS, rows).astype(np.int64)
    categories = random.zipf(_ZIPF, rows * width) % CATEGORIES
    of_model = {
        "model": _all(rows, "bench"),
        "epoch": _all(rows, 0, pa.int64()),
        "sequence": _all(rows, 1, pa.int64()),
        "score": pa.array(random.random(rows)),
    }
    of_features = {
        "feature_set": _all(rows, schema.id),
        "numeric": _lists(pa.array(inputs.ravel()), rows, len(schema.numeric)),
        "categorical": _lists(pa.array([f"v{each}" for each in categories.tolist()], pa.string()), rows, width),
    }
    of_label = {
        "label": pa.array((inputs @ truth + _NOISE * random.normal(size=rows) > 0.0).astype(np.float64)),
        "weight": pa.array(random.choice([0.25, 0.5, 1.0], rows)),
        "propensity": _all(rows, 1.0),
        "segment": _texts([SEGMENTS[number % len(SEGMENTS)] for number in numbers.tolist()]),
        "target_id": _texts([f"item-{number * 104_729 % TARGETS}" for number in numbers.tolist()]),
        "subject": _texts([f"1-{number * 7_919 % SUBJECTS:016x}" for number in numbers.tolist()]),
        "kind": _all(rows, "thumb"),
        "label_age_ms": pa.array(ages_ms),
        "predicted_at": pa.array(times_ms - ages_ms).cast(pa.timestamp("ms")),
        "occurred_at": pa.array(times_ms).cast(pa.timestamp("ms")),
    }
    of_origin = {
        "example_id": _texts([f"e-{each}" for each in ids]),
        "prediction_id": _texts(ids),
        "origin_topic": _all(rows, catalogue.FEEDBACK_EXPLICIT),
        "origin_partition": _all(rows, 0, pa.int32()),
        "origin_offset": pa.array(numbers),
        "revision": _all(rows, 0, pa.int32()),
        "was_label": _all(rows, 0.0),
        "was_weight": _all(rows, 0.0),
    }
    columns = {**of_model, **of_features, **of_label, **of_origin}
    expected = arrow_schema(catalogue.EXAMPLES)
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in expected], schema=expected
    )


def _ids(random: np.random.Generator, count: int) -> list[str]:
    digits = random.bytes(16 * count).hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def _all(count: int, value: object, type_: pa.DataType | None = None) -> pa.Array:
    return pa.repeat(pa.scalar(value, type_), count)


def _texts(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _lists(values: pa.Array, rows: int, width: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * width), values)
