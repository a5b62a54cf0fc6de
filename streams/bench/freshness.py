"""Freshness: feedback produced → first served prediction by a version that learned it, over the whole pipeline.

Simulated input: random features and a noisy linear rule give predictions and feedback at a steady rate. Intake, join,
both learners, monitor and the HTTP server are separate processes; load generator and observer are this process.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.broker import Broker, Producer
from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import MODELS, Pipeline
from rheostat.streams.models.manifest import decode_manifest
from rheostat.streams.models.version import Version

SCHEMA = FeatureSchema("bench@1", tuple(f"x{index}" for index in range(8)), ())
GROUPS = ("intake", "join", "learn", "monitor")
TICK_S = 0.01
REQUEST_EVERY_S = 0.005
WARM_UP_S = 5.0
SAMPLE_EVERY = 5


def bench_freshness(
    broker: Broker, pipeline: Pipeline, folder: Path, rate: int, seconds: float, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Run the pipeline under load; return percentiles of freshness in ms, by model and of the slower model."""
    trackers = {model: FreshnessTracker() for model in MODELS}
    stop = threading.Event()
    with Children(folder) as children:
        pipeline.start(children, GROUPS)
        children.wait_until(pipeline.ready, "the server is ready", 60)
        threads = [
            threading.Thread(target=_observe_log, args=(broker, trackers, stop), daemon=True),
            threading.Thread(target=_observe_server, args=(pipeline.url, trackers, stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        load = _Load(broker.producer(), trackers)
        load.run(rate, WARM_UP_S, record=False, progress=lambda done: None)
        sent = load.run(rate, seconds, record=True, progress=progress)
        _wait_for_learning(children, trackers, 15.0)
        stop.set()
        for thread in threads:
            thread.join(5)
    return _summary(trackers, rate, seconds, sent)


class _Load:
    """Produces predictions and, right behind them, feedback about them."""

    def __init__(self, producer: Producer, trackers: dict[str, FreshnessTracker]) -> None:
        self._producer = producer
        self._trackers = trackers
        self._random = np.random.default_rng(0)
        self._truth = self._random.normal(size=len(SCHEMA.numeric))

    def run(self, rate: int, seconds: float, *, record: bool, progress: Callable[[float], None]) -> int:
        began = time.perf_counter()
        sent = 0
        while (elapsed := time.perf_counter() - began) < seconds:
            due = int(min(elapsed + TICK_S, seconds) * rate) - sent
            if due > 0:
                self._send(due, record)
                sent += due
            progress(elapsed / seconds)
            time.sleep(max(0.0, TICK_S - (time.perf_counter() - began - elapsed)))
        if self._producer.flush(10_000):
            raise RuntimeError("the broker did not take the load")
        return sent

    def _send(self, count: int, record: bool) -> None:
        now_ms = time.time_ns() // 1_000_000
        ids = [uuid.uuid4().hex for _ in range(count)]
        features = self._random.normal(size=(count, len(SCHEMA.numeric)))
        label = features @ self._truth + self._random.normal(size=count) > 0
        for key, value in zip(
            ids, codec.encode_block(catalogue.PREDICTIONS, _predictions(ids, features, now_ms)), strict=True
        ):
            self._producer.send(catalogue.PREDICTIONS, key.encode(), value, timestamp_ms=now_ms)
        values = codec.encode_block(catalogue.FEEDBACK_EXPLICIT, _feedback(ids, label, now_ms))
        at = time.perf_counter()
        for index, (key, value) in enumerate(zip(ids, values, strict=True)):
            self._producer.send(catalogue.FEEDBACK_EXPLICIT, key.encode(), value, timestamp_ms=now_ms)
            if record and index % SAMPLE_EVERY == 0:
                for tracker in self._trackers.values():
                    tracker.event_sent(f"e-{key}", at)


def _predictions(ids: list[str], features: NDArray[np.float64], now_ms: int) -> pa.RecordBatch:
    count = len(ids)
    width = len(SCHEMA.numeric)
    numeric = pa.ListArray.from_arrays(np.arange(0, count * width + 1, width, dtype=np.int32), features.ravel())
    times = pa.array([now_ms] * count, pa.timestamp("ms"))
    columns: dict[str, Any] = {
        "prediction_id": pa.array(ids),
        "model": pa.array(["linear"] * count),
        "epoch": pa.array([0] * count, pa.int64()),
        "sequence": pa.array([0] * count, pa.int64()),
        "feature_set": pa.array([SCHEMA.id] * count),
        "numeric": numeric,
        "categorical": pa.array([[]] * count, pa.list_(pa.string())),
        "target_id": pa.array([f"t{index % 500}" for index in range(count)]),
        "subject_id": pa.nulls(count, pa.string()),
        "segment": pa.array(["all"] * count),
        "action": pa.nulls(count, pa.string()),
        "propensity": pa.array([1.0] * count),
        "score": pa.array([0.5] * count),
        "arm": pa.nulls(count, pa.string()),
        "flags": pa.array([[]] * count, pa.list_(pa.string())),
        "occurred_at": times,
        "expires_at": pa.nulls(count, pa.timestamp("ms")),
        "source": pa.array(["bench"] * count),
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in codec.arrow_schema(catalogue.PREDICTIONS).names})


def _feedback(ids: list[str], label: NDArray[np.bool_], now_ms: int) -> pa.RecordBatch:
    count = len(ids)
    columns: dict[str, Any] = {
        "event_id": pa.array([f"e-{each}" for each in ids]),
        "prediction_id": pa.array(ids),
        "subject_id": pa.array([f"u{hash(each) % 5_000}" for each in ids]),
        "target_id": pa.array([f"t{hash(each) % 2_000}" for each in ids]),
        "kind": pa.array(["thumb"] * count),
        "value": pa.array(label.astype(np.float64)),
        "certainty": pa.nulls(count, pa.float64()),
        "segment": pa.array(["all"] * count),
        "text": pa.nulls(count, pa.string()),
        "retracts": pa.nulls(count, pa.string()),
        "occurred_at": pa.array([now_ms] * count, pa.timestamp("ms")),
        "source": pa.array(["bench"] * count),
        "consent": pa.array([True] * count),
    }
    return pa.RecordBatch.from_pydict(
        {name: columns[name] for name in codec.arrow_schema(catalogue.FEEDBACK_EXPLICIT).names}
    )


def _observe_log(broker: Broker, trackers: dict[str, FreshnessTracker], stop: threading.Event) -> None:
    """Note where events came out of the join and which version learned which examples."""
    tailer = broker.tailer([catalogue.EXAMPLES, catalogue.MODELS], from_beginning=True)
    while not stop.is_set():
        for block in tailer.poll(10_000, 50):
            if block.topic == catalogue.EXAMPLES:
                ids = codec.decode_fields(block.topic, block.values, 1).column(0).to_pylist()
                for tracker in trackers.values():
                    for event_id, offset in zip(ids, block.offsets, strict=True):
                        if event_id in tracker.sent:
                            tracker.event_joined(event_id, block.partition, offset)
            else:
                for value in block.values:
                    _note_version(trackers, value)
    tailer.close()


def _note_version(trackers: dict[str, FreshnessTracker], value: bytes | None) -> None:
    record = codec.decode_record(catalogue.MODELS, value)
    if record["chunk"] == 0:
        manifest = decode_manifest(record["manifest"])
        ranges = [(each.partition, each.start, each.end) for each in manifest.facts.training]
        trackers[manifest.model].version_published(manifest.version, ranges)


def _observe_server(url: str, trackers: dict[str, FreshnessTracker], stop: threading.Event) -> None:
    """Ask for predictions all the time and note the version of each answer."""
    features = dict.fromkeys(SCHEMA.numeric, 0.1)
    while not stop.is_set():
        for model, tracker in trackers.items():
            body = json.dumps({"model": model, "features": features}).encode()
            request = Request(f"{url}/predict", body, {"content-type": "application/json"})
            with urlopen(request, timeout=10) as answer:
                version = Version.parse(json.loads(answer.read())["version"])
            tracker.prediction_served(version, time.perf_counter())
        stop.wait(REQUEST_EVERY_S)


def _wait_for_learning(children: Children, trackers: dict[str, FreshnessTracker], seconds: float) -> None:
    """Wait until what was sent last is served, or the time is over; what is missing is counted in the summary."""
    deadline = time.monotonic() + seconds

    def done() -> bool:
        complete = all(len(each.latencies_ms()) == len(each.sent) for each in trackers.values())
        return complete or time.monotonic() > deadline

    children.wait_until(done, "everything sent is served", seconds + 5)


def _summary(trackers: dict[str, FreshnessTracker], rate: int, seconds: float, sent: int) -> dict[str, Any]:
    by_model = {}
    for model, tracker in trackers.items():
        found = tracker.latencies_ms()
        if not len(found):
            raise RuntimeError(f"no event reached a served version of {model}")
        by_model[model] = {
            "freshness_ms_p50": round(float(np.percentile(found, 50)), 1),
            "freshness_ms_p99": round(float(np.percentile(found, 99)), 1),
            "freshness_ms_max": round(float(found.max()), 1),
            "measured": len(found),
            "not_served": len(tracker.sent) - len(found),
            "versions": len(tracker.served),
        }
    slower = max(by_model.values(), key=lambda each: each["freshness_ms_p50"])
    return {
        "freshness_ms_p50": slower["freshness_ms_p50"],
        "freshness_ms_p99": max(each["freshness_ms_p99"] for each in by_model.values()),
        "rate": rate,
        "seconds": seconds,
        "events": sent,
        "models": by_model,
        "input": "simulated",
    }
