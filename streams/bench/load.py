"""A steady simulated load: predictions with random features, and feedback about them by a noisy linear rule."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.broker import Producer

SCHEMA = FeatureSchema("bench@1", tuple(f"x{index}" for index in range(8)), ())
TICK_S = 0.02
TARGETS = 2_000
SUBJECTS = 5_000
FLUSH_TIMEOUT_MS = 10_000

OnSent = Callable[[list[str], float], None]
"""Told the event ids of a batch and the time (perf_counter) just before they were handed to the producer."""


class SimulatedLoad:
    """Produces predictions and, right behind them, feedback about them; `sent` counts the feedback."""

    def __init__(self, producer: Producer, on_sent: OnSent = lambda ids, at: None) -> None:
        self.sent = 0
        self._producer = producer
        self._on_sent = on_sent
        self._random = np.random.default_rng(0)
        self._truth = self._random.normal(size=len(SCHEMA.numeric))

    def run(self, rate: int, seconds: float, progress: Callable[[float], None] = lambda done: None) -> None:
        """Send `rate` events a second for a while. Raises RuntimeError when the broker does not take them."""
        began = time.perf_counter()
        sent = 0
        while (elapsed := time.perf_counter() - began) < seconds:
            due = int(min(elapsed + TICK_S, seconds) * rate) - sent
            if due > 0:
                self.send(due)
                sent += due
            progress(elapsed / seconds)
            time.sleep(max(0.0, TICK_S - (time.perf_counter() - began - elapsed)))
        if self._producer.flush(FLUSH_TIMEOUT_MS):
            raise RuntimeError("the broker did not take the load")

    def send(self, count: int) -> None:
        """Send this many predictions and events now."""
        now_ms = time.time_ns() // 1_000_000
        ids = _random_ids(count)
        features = self._random.normal(size=(count, len(SCHEMA.numeric)))
        label = features @ self._truth + self._random.normal(size=count) > 0
        self._write(catalogue.PREDICTIONS, ids, _predictions(ids, features, now_ms), now_ms)
        event_ids = [f"e-{each}" for each in ids]
        # All by chance: whoever always met the same targets in the same order would look like an accomplice.
        subjects, targets = (self._random.integers(0, of, count) for of in (SUBJECTS, TARGETS))
        events = _feedback(event_ids, ids, label, subjects, targets, now_ms)
        self._on_sent(event_ids, time.perf_counter())
        self._write(catalogue.FEEDBACK_EXPLICIT, ids, events, now_ms)
        self.sent += count

    def _write(self, topic: str, keys: list[str], batch: pa.RecordBatch, now_ms: int) -> None:
        for key, value in zip(keys, codec.encode_block(topic, batch), strict=True):
            self._producer.send(topic, key.encode(), value, timestamp_ms=now_ms)


def _random_ids(count: int) -> list[str]:
    digits = os.urandom(16 * count).hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def _predictions(ids: list[str], features: NDArray[np.float64], now_ms: int) -> pa.RecordBatch:
    count, width = features.shape
    columns: dict[str, Any] = {
        "prediction_id": pa.array(ids),
        "model": pa.array(["linear"] * count),
        "epoch": pa.array([0] * count, pa.int64()),
        "sequence": pa.array([0] * count, pa.int64()),
        "feature_set": pa.array([SCHEMA.id] * count),
        "numeric": pa.ListArray.from_arrays(np.arange(0, count * width + 1, width, dtype=np.int32), features.ravel()),
        "categorical": pa.array([[]] * count, pa.list_(pa.string())),
        "segment": pa.array(["all"] * count),
        "propensity": pa.array([1.0] * count),
        "score": pa.array([0.5] * count),
        "flags": pa.array([[]] * count, pa.list_(pa.string())),
        "occurred_at": pa.array([now_ms] * count, pa.timestamp("ms")),
        "source": pa.array(["bench"] * count),
    }
    return _batch(catalogue.PREDICTIONS, columns, count)


def _feedback(
    event_ids: list[str],
    ids: list[str],
    label: NDArray[np.bool_],
    subjects: NDArray[np.int64],
    targets: NDArray[np.int64],
    now_ms: int,
) -> pa.RecordBatch:
    count = len(ids)
    columns: dict[str, Any] = {
        "event_id": pa.array(event_ids),
        "prediction_id": pa.array(ids),
        "subject_id": pa.array([f"u{number}" for number in subjects]),
        "target_id": pa.array([f"t{number}" for number in targets]),
        "kind": pa.array(["thumb"] * count),
        "value": pa.array(label.astype(np.float64)),
        "segment": pa.array(["all"] * count),
        "occurred_at": pa.array([now_ms] * count, pa.timestamp("ms")),
        "source": pa.array(["bench"] * count),
        "consent": pa.array([True] * count),
    }
    return _batch(catalogue.FEEDBACK_EXPLICIT, columns, count)


def _batch(topic: str, columns: dict[str, Any], count: int) -> pa.RecordBatch:
    """Return a batch in the topic's schema; columns not given are null."""
    schema = codec.arrow_schema(topic)
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema
    )
