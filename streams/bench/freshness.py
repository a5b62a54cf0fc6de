"""Freshness: feedback produced → first served prediction by a version that learned it, over the whole pipeline.

Simulated input: random features and a noisy linear rule give predictions and feedback at a steady rate. Intake with
join, the learners, the monitor and the HTTP server are processes of their own; load and observer are this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rheostat.schemas import catalogue, codec
from rheostat.streams.bench import hop_times
from rheostat.streams.bench.load import SCHEMA, SimulatedLoad
from rheostat.streams.bench.processors import Processors
from rheostat.streams.engine.broker import Broker
from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import Pipeline
from rheostat.streams.local.predict_client import PredictClient
from rheostat.streams.models.manifest import decode_manifest
from rheostat.streams.models.version import Version
from rheostat.streams.packed_columns import own_columns

GROUPS = ("intake-join", "learn", "monitor")
REQUEST_EVERY_S = 0.02
SAMPLE_EVERY = 5
STAMP_EVERY = 100


def bench_freshness(
    broker: Broker,
    pipeline: Pipeline,
    folder: Path,
    rate: int,
    seconds: float,
    *,
    warm_up_s: float,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """Run the pipeline under load; return percentiles of freshness in ms, by model and of the slowest model.

    With them goes how long stamped events took for each hop until the version that learned them was in use, as the
    server's own histograms tell (see `hop_times`). From there on an event waits until somebody asks.

    What is sent in the first `warm_up_s` is not measured: a broker just started compiles its code for a while.
    """
    trackers = {model: FreshnessTracker() for model in pipeline.config.models}
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
        SimulatedLoad(broker.producer(), stamp_every=STAMP_EVERY).run(rate, warm_up_s)
        load = SimulatedLoad(broker.producer(), lambda ids, at: _note_sent(trackers, ids, at), STAMP_EVERY)
        hops_before = hop_times.look(pipeline.url)
        processors = Processors()
        load.run(rate, seconds, progress)
        used = processors.summary()
        _wait_for_learning(children, trackers, 15.0)
        hops = hop_times.look(pipeline.url)
        stop.set()
        for thread in threads:
            thread.join(5)
    return {
        **_summary(
            trackers,
            {model: hop_times.summary(hops_before, hops, model) for model in trackers},
            rate,
            seconds,
            load.sent,
        ),
        **used,
        "warm_up_s": warm_up_s,
        "processes": [*GROUPS, "serve"],
    }


def _note_sent(trackers: dict[str, FreshnessTracker], ids: list[str], at: float) -> None:
    for tracker in trackers.values():
        for event_id in ids[::SAMPLE_EVERY]:
            tracker.event_sent(event_id, at)


def _observe_log(broker: Broker, trackers: dict[str, FreshnessTracker], stop: threading.Event) -> None:
    """Note where events came out of the join and which version learned which examples.

    A consumer as stages have it, though it commits nothing: of all readers it takes the least from what is measured.
    """
    consumer = broker.static_consumer("bench-observer", [catalogue.EXAMPLES, catalogue.MODELS])
    consumer.start(dict.fromkeys(consumer.take_assigned()))
    while not stop.is_set():
        for block in consumer.poll(10_000, 50):
            if block.topic == catalogue.EXAMPLES:
                ids = own_columns([block], ["example_id"]).column(0).to_pylist()
                for tracker in trackers.values():
                    for event_id, offset in zip(ids, block.offsets, strict=True):
                        if event_id in tracker.sent:
                            tracker.event_joined(event_id, block.partition, offset)
            else:
                for value in block.values:
                    _note_version(trackers, value)
    consumer.close()


def _note_version(trackers: dict[str, FreshnessTracker], value: bytes | None) -> None:
    record = codec.decode_record(catalogue.MODELS, value)
    if record["chunk"] == 0:
        manifest = decode_manifest(record["manifest"])
        ranges = [(each.partition, each.start, each.end) for each in manifest.facts.training]
        trackers[manifest.model].version_published(manifest.version, ranges)


def _observe_server(url: str, trackers: dict[str, FreshnessTracker], stop: threading.Event) -> None:
    """Ask for predictions all the time, each model in turn, and note the version of each answer."""
    features = dict.fromkeys(SCHEMA.numeric, 0.1)
    server = PredictClient(url)
    while not stop.is_set():
        for model, tracker in trackers.items():
            answer = server.ask({"model": model, "features": features})
            tracker.prediction_served(Version.parse(answer["version"]), time.perf_counter())
            stop.wait(REQUEST_EVERY_S)
    server.close()


def _wait_for_learning(children: Children, trackers: dict[str, FreshnessTracker], seconds: float) -> None:
    """Wait until what was sent last is served, or the time is over; what is missing is counted in the summary."""
    deadline = time.monotonic() + seconds

    def done() -> bool:
        complete = all(len(each.latencies_ms()) == len(each.sent) for each in trackers.values())
        return complete or time.monotonic() > deadline

    children.wait_until(done, "everything sent is served", seconds + 5)


def _summary(
    trackers: dict[str, FreshnessTracker],
    hops: dict[str, dict[str, Any]],
    rate: int,
    seconds: float,
    sent: int,
) -> dict[str, Any]:
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
            **hops[model],
        }
    slower = max(by_model.values(), key=lambda each: each["freshness_ms_p50"])
    return {
        "freshness_ms_p50": slower["freshness_ms_p50"],
        "freshness_ms_p99": max(each["freshness_ms_p99"] for each in by_model.values()),
        "hops": slower["hops"],
        "longest_hop": slower["longest_hop"],
        "rate": rate,
        "seconds": seconds,
        "events": sent,
        "models": by_model,
        "input": "simulated",
    }
