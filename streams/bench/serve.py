"""Serving: predictions in a process of one's own, and over HTTP from a server that new versions keep coming to.

Two models on the same features, a linear one and embeddings with a hidden layer, learn from simulated rows in this
process, which publishes a version of each every 200 ms and twice orders a rollback. `rheostat serve` is a process on
one processor that nothing else here uses, its prediction log on; the client is another. Requests are for one instance,
for the two models in turn. First as many as the server answers (a request on each of a few connections all the time),
then 3,000 a second, each counted from when it was due; in the end the server is told to end while these go on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue
from rheostat.streams.bench.http_load import Measured, Outcome, Phase, request_bytes, run_client
from rheostat.streams.bench.processors import Processors
from rheostat.streams.bench.serve_in_process import predict_per_s, predict_us, wait_for_versions
from rheostat.streams.bench.serve_versions import VersionWriter, simulated_inputs
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.broker import Broker
from rheostat.streams.keys import signer
from rheostat.streams.local.children import Child, Children
from rheostat.streams.local.pipeline import Pipeline
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.signing import Signer, load_key_ring
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower
from rheostat.streams.worker import learner_maker

MODELS = ("linear", "deep")
VERSION_EVERY_S = 0.2
ROWS = 256
RATE = 3_000
REQUESTS = 2_000
WARM_UP_S = 3.0
DRAIN_S_MAX = 30.0
_TRAINING_VERSIONS = 20


@contextmanager
def server_processor() -> Iterator[int | None]:
    """Keep one processor free for the server: this process, and what it starts from now on, use the others.

    None where that cannot be: processors cannot be chosen here, or there is only one.
    """
    if not hasattr(os, "sched_setaffinity") or len(all_of := os.sched_getaffinity(0)) < 2:
        yield None
        return
    kept = max(all_of)
    os.sched_setaffinity(0, all_of - {kept})
    try:
        yield kept
    finally:
        os.sched_setaffinity(0, all_of)


def bench_serve(
    broker: Broker,
    pipeline: Pipeline,
    folder: Path,
    *,
    processor: int | None,
    seconds: float,
    connections: int,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Measure both. The topics must exist and be empty; `pipeline` has MODELS.

    `seconds`: of each of the two loads. `processor`: the one for the server, None to let it use any.
    """
    keys, schema = Path(pipeline.config.keys.dir), pipeline.config.feature_schema(MODELS[0])
    writers = [
        VersionWriter(
            broker,
            model,
            learner_maker(pipeline.config.models[model], schema)(),
            signer(keys, "learner"),
            rows=ROWS,
            base_every=pipeline.config.learn.base_every,
        )
        for model in MODELS
    ]
    for _ in range(_TRAINING_VERSIONS):
        for writer in writers:
            writer.publish()
    found = _in_process(broker, keys)
    with Children(folder) as children:
        server = _start_server(children, pipeline, processor)
        found |= _Http(pipeline, server, writers, signer(keys, "operator"), schema, seconds, connections).run(progress)
    for writer in writers:
        writer.close()
    found["logged_predictions"] = _count(broker, catalogue.PREDICTIONS)
    return {"bench": "serve", **found, "features": _described(schema), "input": "simulated"}


def _in_process(broker: Broker, keys: Path) -> dict[str, Any]:
    settings = FollowerSettings("bench", MODELS)
    follower = ModelFollower(broker, settings, load_key_ring(keys), WallClock(), Metrics(CollectorRegistry()))
    wait_for_versions(follower)
    found = {
        "predict_us_linear": predict_us(follower, "linear"),
        "predict_us_torch": predict_us(follower, "deep"),
        "predict_batched_per_s": predict_per_s(follower, MODELS),
    }
    follower.stop()
    return found


def _start_server(children: Children, pipeline: Pipeline, processor: int | None) -> Child:
    pipeline.restart(children, "serve")
    (server,) = children.running
    if processor is not None:
        os.sched_setaffinity(server.process.pid, {processor})
    children.wait_until(pipeline.ready, "the server is ready", 60)
    return server


class _Http:
    def __init__(
        self,
        pipeline: Pipeline,
        server: Child,
        writers: Sequence[VersionWriter],
        operator: Signer,
        schema: FeatureSchema,
        seconds: float,
        connections: int,
    ) -> None:
        self._server = server
        self._writers = writers
        self._operator = operator
        self._published = 0
        serve = pipeline.config.serve
        self._client = (
            serve.host,
            serve.port,
            _requests(f"{serve.host}:{serve.port}", schema),
            connections,
            (
                Phase("warm-up", WARM_UP_S),
                Phase("full", seconds),
                Phase("paced", seconds, RATE),
                Phase("drain", DRAIN_S_MAX, RATE),
            ),
        )
        self._seconds = seconds
        self._cpu_s: dict[str, float] = {}

    def run(self, progress: Callable[[float], None]) -> dict[str, Any]:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        client = context.Process(target=run_client, args=(there, *self._client), daemon=True)
        client.start()
        there.close()
        processors = Processors()
        try:
            outcome = self._publish_until_done(here, progress)
        except EOFError:
            raise RuntimeError("the client ended before it had measured") from None
        finally:
            client.join(5)
            client.kill()
        code = self._server.process.wait(DRAIN_S_MAX)
        return {**self._summary(outcome), "server_exit_code": code, **processors.summary()}

    def _publish_until_done(self, client: Connection, progress: Callable[[float], None]) -> Outcome:
        """Publish on time while the client goes through its phases; roll back in the middle of the measured ones."""
        due = began = time.monotonic()
        roll_back_at: float | None = None
        while True:
            wait_s = due - time.monotonic()
            if client.poll(max(0.0, wait_s)):
                told = client.recv()
                if isinstance(told, Outcome):
                    return told
                self._note_cpu(told)
                if told in ("full", "paced"):
                    roll_back_at = time.monotonic() + self._seconds / 2
                if told == "drain":
                    self._server.process.send_signal(signal.SIGTERM)
                continue
            for writer in self._writers:
                if roll_back_at is not None and time.monotonic() >= roll_back_at:
                    writer.roll_back(self._operator)
                else:
                    writer.publish()
                self._published += 1
            if roll_back_at is not None and time.monotonic() >= roll_back_at:
                roll_back_at = None
            due += VERSION_EVERY_S
            progress(min(1.0, (time.monotonic() - began) / (WARM_UP_S + 2 * self._seconds + 2.0)))

    def _note_cpu(self, phase: str) -> None:
        self._cpu_s[phase] = _process_cpu_s(self._server.process.pid)

    def _summary(self, outcome: Outcome) -> dict[str, Any]:
        phases = {each.name: each for each in outcome.phases}
        full, paced = phases["full"], phases["paced"]
        used_s = self._cpu_s["paced"] - self._cpu_s["full"]
        return {
            "http_requests_per_s": round(len(full.latencies_ms) / full.seconds),
            "http_ms_p99": max(_ms(full, 99), _ms(paced, 99)),
            "failed_requests": sum(outcome.failures.values()),
            "failures": dict(outcome.failures),
            "not_ready_first": outcome.not_ready_first,
            "answered": outcome.answered,
            "versions_published": self._published,
            "versions_answering": len(outcome.versions),
            "server_cpu_us_per_request": round(used_s / len(full.latencies_ms) * 1e6, 1),
            "server_cpus": round(used_s / full.seconds, 2),
            "loads": {each.name: _load(each) for each in (full, paced, phases["drain"])},
        }


def _requests(host: str, schema: FeatureSchema) -> list[bytes]:
    """Return requests for one instance each, for the models in turn."""
    rows = simulated_inputs(schema, REQUESTS, np.random.default_rng(3)).each(schema)
    about = {"target_id": "item-17", "subject": "1-0123456789abcdef", "segment": "mobile"}
    return [
        request_bytes(
            host,
            "POST",
            "/predict",
            json.dumps({"model": MODELS[number % len(MODELS)], "features": features, **about}).encode(),
        )
        for number, features in enumerate(rows)
    ]


def _load(phase: Measured) -> dict[str, float]:
    return {
        "seconds": round(phase.seconds, 1),
        "requests_per_s": round(len(phase.latencies_ms) / phase.seconds),
        **{f"ms_p{at}".replace(".", "_"): _ms(phase, at) for at in (50, 99, 99.9)},
        "ms_max": _ms(phase, 100),
        "client_cpus": round(phase.cpu_s / phase.seconds, 2),
    }


def _ms(phase: Measured, percentile: float) -> float:
    return round(float(np.percentile(phase.latencies_ms, percentile)), 2) if len(phase.latencies_ms) else 0.0


def _process_cpu_s(pid: int) -> float:
    """Return the processor time of a process until now, all its threads together; Linux only, elsewhere NaN."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return float("nan")


def _count(broker: Broker, topic: str) -> int:
    log = broker.log()
    return sum(len(block) for at in range(log.partitions(topic)) for block in log.read(topic, at))


def _described(schema: FeatureSchema) -> str:
    return f"{len(schema.numeric)} numeric, {len(schema.categorical)} categorical"
