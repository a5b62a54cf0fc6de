"""How long a server needs to be ready, and how much it reads, against the size of the topic of models.

The topic is written beforehand: versions of small models, one every 50 ms by their own times, a base every 50 versions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.broker import Broker, Producer
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Retryable
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.signing import KeyRing, Signer, generate_signer
from rheostat.streams.models.topic import model_partition
from rheostat.streams.models.update import Published, build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.cold_start import Wanted, start_offsets
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower

BASE_EVERY = 50
VERSION_EVERY_MS = 50
SCHEMA = FeatureSchema("bench@1", tuple(f"x{number}" for number in range(1_000)))
PERIODS = (10, 100, 1_000)


def bench_cold_start(
    new_broker: Callable[[], Broker], periods: Sequence[int], models: int, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Measure topics of so many base periods of each model; `new_broker` gives one whose topics are new and empty."""
    rows = []
    for number, each in enumerate(periods):
        rows.append(_measured(new_broker(), each, [f"model-{index}" for index in range(models)]))
        progress((number + 1) / len(periods))
    return {"bench": "cold-start", "input": "simulated", "models": models, "base_every": BASE_EVERY, "topics": rows}


def _measured(broker: Broker, periods: int, models: Sequence[str]) -> dict[str, Any]:
    signer = generate_signer("bench")
    written = _write(broker, signer, periods, models)
    log, keys = CountingLog(broker.log()), KeyRing.of(signer)
    began = time.monotonic()
    starts = start_offsets(log, keys, [Wanted(model) for model in models])
    found = time.monotonic()
    settings = FollowerSettings("bench", tuple(models))
    follower = ModelFollower(broker, settings, keys, WallClock(), Metrics(CollectorRegistry()))
    try:
        while not follower.ready:
            follower.step(100)
        ready = time.monotonic()
        newest = {str(version.version) for model in models if (version := follower.current(model)) is not None}
    finally:
        follower.stop()
    followed = CountingLog(broker.log())
    for partition in range(followed.partitions(catalogue.MODELS)):
        start = next((at for tp, at in starts.items() if tp.partition == partition), 0)
        for _ in followed.read(catalogue.MODELS, partition, start_offset=start):
            pass
    return {
        "base_periods": periods,
        "topic_mb": round(written / 1e6, 1),
        "find_s": round(found - began, 2),
        "ready_s": round(ready - found, 2),
        "read_to_find_mb": round(log.bytes / 1e6, 1),
        "read_to_follow_mb": round(followed.bytes / 1e6, 1),
        "newest": sorted(newest),
    }


class CountingLog:
    """A log that counts the bytes that are read of it. See `Log`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, topic: str, partition: int, **bounds: int | None) -> Iterator[Block]:
        """Yield what the log yields."""
        for block in self._log.read(topic, partition, **bounds):
            self.bytes += sum(len(value) for value in block.values if value is not None)
            yield block


def _write(broker: Broker, signer: Signer, periods: int, models: Sequence[str]) -> int:
    """Write the versions of all models, in turn; return their bytes."""
    log, producer, written = broker.log(), broker.producer(), 0
    partitions = {model: model_partition(log, model) for model in models}
    parents: dict[str, Published] = {}
    count = periods * BASE_EVERY + BASE_EVERY // 2
    started_ms = time.time_ns() // 1_000_000 - count * VERSION_EVERY_MS
    weights = np.random.default_rng(0).normal(size=len(SCHEMA.numeric))
    for sequence in range(count):
        weights = weights.copy()
        weights[sequence % len(weights)] += 0.01
        for model in models:
            at_ms = started_ms + sequence * VERSION_EVERY_MS
            facts = Facts(model, Version(0, sequence), "linear/1", SCHEMA, published_at_ms=at_ms)
            parent = None if sequence % BASE_EVERY == 0 else parents[model]
            built = build_update(facts, _tensors(weights), parent, signer)
            parents[model] = built.published
            for key, value in built.records:
                _send(producer, key, value, at_ms, partitions[model])
                written += len(value)
    producer.flush(60_000)
    producer.close()
    return written


def _send(producer: Producer, key: bytes, value: bytes, at_ms: int, partition: int) -> None:
    while True:
        try:
            producer.send(catalogue.MODELS, key, value, timestamp_ms=at_ms, partition=partition)
            return
        except Retryable:
            producer.flush(1_000)


def _tensors(weights: np.ndarray[Any, np.dtype[np.float64]]) -> Mapping[str, Any]:
    inputs = len(SCHEMA.numeric)
    return {
        "bins": np.array([1], np.uint64),
        "weights": weights,
        "intercept": np.zeros(1),
        "scale.mean": np.zeros(inputs),
        "scale.factor": np.ones(inputs),
        "scale.options": np.array([0.0, 10.0]),
    }
