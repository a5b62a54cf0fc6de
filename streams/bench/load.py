"""A steady simulated load: predictions with random features, and feedback about them by a noisy linear rule.

It shares the machine with what is measured, so it costs as little as can be: of the records of a moment one is encoded,
and the others are that one with other bytes in the fields that differ, all of the same length.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.client.stamps import Stamps
from rheostat.streams.engine.broker import Producer

SCHEMA = FeatureSchema("bench@1", tuple(f"x{index}" for index in range(8)), ())
TICK_S = 0.02
TARGETS = 2_000
SUBJECTS = 5_000
Bytes = NDArray[np.uint8]
FLUSH_TIMEOUT_MS = 10_000

OnSent = Callable[[list[str], float], None]
"""Told the event ids of a batch and the time (perf_counter) just before they were handed to the producer."""


class SimulatedLoad:
    """Produces predictions and, right behind them, feedback about them; `sent` counts the feedback.

    stamp_every: which feedback is stamped as a client's is, every so-many-th, 0 none.
    """

    def __init__(self, producer: Producer, on_sent: OnSent = lambda ids, at: None, stamp_every: int = 0) -> None:
        self.sent = 0
        self._stamps = Stamps(stamp_every)
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
        ids = np.frombuffer(os.urandom(16 * count).hex().encode(), np.uint8).reshape(count, -1)
        features = self._random.normal(size=(count, len(SCHEMA.numeric)))
        label = features @ self._truth + self._random.normal(size=count) > 0
        keys = _rows(ids)
        # All by chance: whoever always met the same targets in the same order would look like an accomplice.
        subjects, targets = (self._random.integers(0, of, count) for of in (SUBJECTS, TARGETS))
        self._write(catalogue.PREDICTIONS, keys, predictions(ids, features, now_ms), now_ms, None)
        events = feedback(ids, label, subjects, targets, now_ms)
        self._on_sent([f"e-{key.decode()}" for key in keys], time.perf_counter())
        self._write(catalogue.FEEDBACK_EXPLICIT, keys, events, now_ms, self._stamps)
        self.sent += count

    def _write(self, topic: str, keys: list[bytes], values: list[bytes], now_ms: int, stamps: Stamps | None) -> None:
        for key, value in zip(keys, values, strict=True):
            self._producer.send(topic, key, value, timestamp_ms=now_ms, headers=stamps.headers() if stamps else None)


def predictions(ids: Bytes, features: NDArray[np.float64], now_ms: int) -> list[bytes]:
    """Return the records of predictions; ids: their hex digits, a row each."""
    stands_for = np.arange(1.5, 1.5 + features.shape[1])
    record = {
        "prediction_id": "p" * ids.shape[1],
        "model": "linear",
        "epoch": 0,
        "sequence": 0,
        "feature_set": SCHEMA.id,
        "numeric": stands_for.tolist(),
        "categorical": [],
        "segment": "all",
        "propensity": 1.0,
        "score": 0.5,
        "flags": [],
        "occurred_at": now_ms,
        "source": "bench",
    }
    return _encoded(
        catalogue.PREDICTIONS,
        record,
        {b"p" * ids.shape[1]: ids, _doubles(stands_for[None]).tobytes(): _doubles(features)},
    )


def feedback(
    ids: Bytes, label: NDArray[np.bool_], subjects: NDArray[np.int64], targets: NDArray[np.int64], now_ms: int
) -> list[bytes]:
    """Return the records of thumbs about these predictions; an event's id is `e-` and that of its prediction."""
    stands_for = np.array([0.375])
    record = {
        "event_id": "e-" + "e" * ids.shape[1],
        "prediction_id": "p" * ids.shape[1],
        "subject_id": "ussss",
        "target_id": "tgggg",
        "kind": "thumb",
        "value": 0.375,
        "segment": "all",
        "occurred_at": now_ms,
        "source": "bench",
        "consent": True,
    }
    varying = {
        b"e" * ids.shape[1]: ids,
        b"p" * ids.shape[1]: ids,
        b"ssss": _digits(subjects),
        b"gggg": _digits(targets),
        _doubles(stands_for[None]).tobytes(): _doubles(label.astype(np.float64)),
    }
    return _encoded(catalogue.FEEDBACK_EXPLICIT, record, varying)


def _encoded(topic: str, record: Mapping[str, Any], varying: Mapping[bytes, Bytes]) -> list[bytes]:
    """Encode a record once, and return it with each row of bytes in the place of those that stand for them."""
    one = codec.encode_record(topic, record)
    rows = np.tile(np.frombuffer(one, np.uint8), (len(next(iter(varying.values()))), 1))
    for stands_for, values in varying.items():
        at = one.index(stands_for)
        rows[:, at : at + len(stands_for)] = values
    return _rows(rows)


def _rows(rows: Bytes) -> list[bytes]:
    whole, size = rows.tobytes(), rows.shape[1]
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _doubles(values: NDArray[np.float64]) -> Bytes:
    """Return numbers as Avro has them, a row each, or a row of several."""
    return np.ascontiguousarray(values.reshape(len(values), -1), "<f8").view(np.uint8)


def _digits(numbers: NDArray[np.int64]) -> Bytes:
    """Return numbers of up to four digits as text, a row each."""
    digits: Bytes = (numbers[:, None] // np.array([1_000, 100, 10, 1]) % 10).astype(np.uint8)
    return digits + np.uint8(ord("0"))
