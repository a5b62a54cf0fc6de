"""Writes what was answered to the predictions topic, without ever making a request wait.

Requests put predictions into a bounded queue; a thread encodes and sends them. When the queue is full the newest are
dropped and counted: an answer without a log entry costs one label, a server that waits for Kafka costs the service.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.broker import Producer
from rheostat.streams.errors import BrokerError, Retryable
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.version import Version

_DRAIN_MAX = 1_000
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was shown. Features are in the order of the feature set; times are event times in ms.

    `action` and `propensity` are there where the model chooses: what was chosen, with which probability.
    `arm` is as `rheostat.schemas.arms` writes it.
    """

    prediction_id: str
    model: str
    version: Version
    feature_set: str
    numeric: tuple[float, ...]
    categorical: tuple[str, ...]
    score: float
    occurred_at_ms: int
    expires_at_ms: int | None = None
    target_id: str | None = None
    subject_id: str | None = None
    segment: str | None = None
    arm: str | None = None
    action: str | None = None
    propensity: float | None = None
    flags: tuple[str, ...] = ()


def new_prediction_id(now_ms: int) -> str:
    """Return a UUID of version 7 (RFC 9562): 48 bits of milliseconds, then randomness, so ids sort by time."""
    bits = int.from_bytes(os.urandom(10), "big")
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (bits >> 64 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    return str(uuid.UUID(int=value))


class PredictionLog:
    """A bounded queue before the predictions topic. `add` may be called by any thread and never blocks."""

    def __init__(self, producer: Producer, metrics: Metrics, source: str, queue_max: int = 100_000) -> None:
        self._producer = producer
        self._metrics = metrics
        self._source = source
        self._queue_max = queue_max
        self._queue: deque[Prediction] = deque()
        self._filled = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: BrokerError | None = None
        self.added = 0
        self.dropped = 0
        self.undelivered = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, predictions: Sequence[Prediction]) -> int:
        """Queue what there is room for and return how many that were; the rest is dropped and counted."""
        taken = min(len(predictions), max(0, self._queue_max - len(self._queue)))
        self._queue.extend(predictions[:taken])
        self.added += taken
        self._filled.set()
        if taken < len(predictions):
            self._drop(len(predictions) - taken)
        return taken

    def drain(self, count_max: int = _DRAIN_MAX) -> int:
        """Encode and send at most `count_max` queued predictions; return how many were taken from the queue.

        One that the producer cannot take now (Retryable) stays queued. Raises BrokerError when it cannot be used.
        """
        for taken in range(count_max):
            if not self._queue:
                return taken
            prediction = self._queue.popleft()
            try:
                self._send(prediction)
            except Retryable:
                self._queue.appendleft(prediction)
                return taken
        return count_max

    def start(self) -> None:
        """Loop `drain` in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def stop(self, flush_ms: int = 5_000) -> int:
        """Send what is queued, wait for delivery, and return how many predictions were left behind."""
        self._stop.set()
        self._filled.set()
        if self._thread is not None:
            self._thread.join()
        while self.failure is None and self.drain():
            pass
        left = self._producer.flush(flush_ms) + len(self._queue)
        self._producer.close()
        return left

    def _run(self) -> None:
        while not self._stop.is_set():
            self._filled.clear()
            try:
                if not self.drain():
                    self._filled.wait(_IDLE_SECONDS)
            except BrokerError as error:
                # Answering goes on: the queue fills up and drops, and the health check says why.
                self.failure = error
                return

    def _send(self, prediction: Prediction) -> None:
        self._producer.send(
            catalogue.PREDICTIONS,
            prediction.prediction_id.encode(),
            codec.encode_record(catalogue.PREDICTIONS, self._record(prediction)),
            timestamp_ms=prediction.occurred_at_ms,
            on_delivery=self._delivered,
        )

    def _delivered(self, error: str | None) -> None:
        if error is not None:
            self.undelivered += 1
            self._metrics.serve_dropped_predictions_total.inc()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._metrics.serve_dropped_predictions_total.inc(count)

    def _record(self, prediction: Prediction) -> dict[str, object]:
        return {
            "prediction_id": prediction.prediction_id,
            "model": prediction.model,
            "epoch": prediction.version.epoch,
            "sequence": prediction.version.sequence,
            "feature_set": prediction.feature_set,
            "numeric": list(prediction.numeric),
            "categorical": list(prediction.categorical),
            "target_id": prediction.target_id,
            "subject_id": prediction.subject_id,
            "segment": prediction.segment,
            "action": prediction.action,
            "propensity": prediction.propensity,
            "score": prediction.score,
            "arm": prediction.arm,
            "flags": list(prediction.flags),
            "occurred_at": prediction.occurred_at_ms,
            "expires_at": prediction.expires_at_ms,
            "source": self._source,
        }
