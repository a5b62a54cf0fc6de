"""Writes what was answered to the predictions topic, without ever making a request wait.

Requests put predictions into a bounded queue; a thread encodes and sends them, all that came within a few hundredths of
a second at once. When the queue is full the newest are dropped and counted: an answer without a log entry costs one
label, a server that waits for Kafka costs the service.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from rheostat.schemas import catalogue
from rheostat.streams.engine.broker import Producer
from rheostat.streams.errors import Retryable
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.predictions import Prediction, encode_predictions

_DRAIN_MAX = 1_000
_LINGER_S = 0.05
"""A thread that is woken up for every request takes turns with the one that answers, which costs more than its work."""


class PredictionLog:
    """A bounded queue before the predictions topic. `add` may be called by any thread and never blocks."""

    def __init__(self, producer: Producer, metrics: Metrics, source: str, queue_max: int = 100_000) -> None:
        self._producer = producer
        self._metrics = metrics
        self._source = source
        self._queue_max = queue_max
        self._queue: deque[Prediction] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        self.added = 0
        self.dropped = 0
        self.undelivered = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def filling(self) -> bool:
        """Whether half of the queue is taken: what is left is for what was shown."""
        return 2 * len(self._queue) >= self._queue_max

    def add(self, predictions: Sequence[Prediction]) -> int:
        """Queue what there is room for and return how many that were; the rest is dropped and counted."""
        taken = min(len(predictions), max(0, self._queue_max - len(self._queue)))
        self._queue.extend(predictions[:taken])
        self.added += taken
        if taken < len(predictions):
            self._drop(len(predictions) - taken)
        return taken

    def drain(self, count_max: int = _DRAIN_MAX) -> int:
        """Encode and send at most `count_max` queued predictions; return how many were taken from the queue.

        Those that the producer cannot take now (Retryable) stay queued. Raises BrokerError when it cannot be used.
        """
        taken = [self._queue.popleft() for _ in range(min(count_max, len(self._queue)))]
        if not taken:
            return 0
        for sent, (prediction, value) in enumerate(zip(taken, encode_predictions(taken, self._source), strict=True)):
            try:
                self._send(prediction, value)
            except Retryable:
                self._queue.extendleft(reversed(taken[sent:]))
                return sent
        return len(taken)

    def start(self) -> None:
        """Loop `drain` in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def stop(self, flush_ms: int = 5_000) -> int:
        """Send what is queued, wait for delivery, and return how many predictions were left behind."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        while self.failure is None and self.drain():
            pass
        left = self._producer.flush(flush_ms) + len(self._queue)
        self._producer.close()
        return left

    def _run(self) -> None:
        try:
            while not self._stop.wait(_LINGER_S):
                while self.drain() == _DRAIN_MAX and not self._stop.is_set():
                    pass
        except Exception as error:
            # Answering goes on: the queue fills up and drops, and the health check says why.
            self.failure = error

    def _send(self, prediction: Prediction, value: bytes) -> None:
        self._producer.send(
            catalogue.PREDICTIONS,
            (prediction.shadow_of or prediction.prediction_id).encode(),
            value,
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
