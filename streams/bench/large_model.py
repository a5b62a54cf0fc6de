"""A model of a gigabyte: told, followed, swapped, and how much memory and time that takes in each process.

A learner tells its first base in one transaction, then learns on while it tells another in parts. One server follows
from the beginning, one starts when the second base is complete. Learner and servers are processes of their own; input
is simulated, the model too (see `wide_table`).
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rheostat.learners.digest import tensors_digest
from rheostat.streams.bench.simulated_examples import schema_of, write_examples
from rheostat.streams.bench.wide_table import WideTable
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.signing import KeyRing, load_signer
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower

MODEL = "wide"
SCHEMA = schema_of(2, 1)
WIDTH = 23
BASE_AT = 10
EXAMPLES_AT_ONCE, EXAMPLES_EVERY_S = 40, 0.2
LEARNER_KAFKA = {"transaction.timeout.ms": 300_000, "queue.buffering.max.kbytes": 65_536}
"""A first base of a gigabyte is one transaction, and must not lie in the client's queue a second time."""

_WAIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What each process needs to know."""

    bootstrap: str
    prefix: str
    key_file: Path
    rows: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the learner did. seconds: of the first base in one transaction, and of the second in parts."""

    model_bytes: int
    first_s: float
    parts_s: float
    versions_between: int
    base_sequence: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Followed:
    """What a server did. seconds: until it answered first. lags_ms: publication to use, by sequence."""

    seconds: float
    version: Version
    digest_right: bool
    peak_bytes: int
    lags_ms: dict[int, float]


def bench_large_model(setup: Setup, progress: Callable[[float], None]) -> dict[str, Any]:
    """Run it; the topics must exist and be empty."""
    broker = KafkaBroker(setup.bootstrap, prefix=setup.prefix)
    with _running(_learn, setup) as learner, _running(_follow, setup) as server, _examples(broker):
        told: Told = _answer(learner)
        progress(0.6)
        with _running(_follow, setup) as late:
            late.send(told.base_sequence)
            started_late: Followed = _answer(late)
        server.send(told.base_sequence)
        followed: Followed = _answer(server)
        learner.send(None)
    size = told.model_bytes
    during = [lag for at, lag in followed.lags_ms.items() if told.base_sequence < at]
    during = during[: told.versions_between]
    return {
        "bench": "large-model",
        "input": "simulated",
        "rows": setup.rows,
        "model_bytes": size,
        "first_base_s": round(told.first_s, 1),
        "base_in_parts_s": round(told.parts_s, 1),
        "versions_during_base": told.versions_between,
        "delta_lag_during_base_ms_p50": round(float(np.percentile(during, 50))),
        "delta_lag_during_base_ms_max": round(max(during)),
        "follow_s": round(started_late.seconds, 1),
        "peak_over_model": {
            "learner": round(told.peak_bytes / size, 2),
            "server": round(followed.peak_bytes / size, 2),
            "late_server": round(started_late.peak_bytes / size, 2),
        },
        "digests_right": followed.digest_right and started_late.digest_right,
    }


def _learn(setup: Setup, pipe: Connection) -> None:
    signer = load_signer(setup.key_file)
    at_start = _peak_bytes()
    learner = WideTable(SCHEMA, setup.rows, WIDTH)
    settings = LearnSettings(MODEL, "learner", base_every=BASE_AT, state_every=1 << 30)
    stage = LearnStage(settings, lambda: learner, signer, KeyRing.of(signer))
    broker = KafkaBroker(setup.bootstrap, prefix=setup.prefix, producer_overrides=LEARNER_KAFKA)
    loop = StageLoop(stage, broker, slot="bench", clock=WallClock(), limits=LoopLimits(interval_ms=50))
    began = time.monotonic()

    def task() -> LearnTask | None:
        found = loop.tasks.get(ALL_PARTITIONS)
        return found if isinstance(found, LearnTask) else None

    def sequence() -> int:
        found = task()
        return -1 if found is None or found.progress.version is None else found.progress.version.sequence

    def until(done: Callable[[], bool]) -> float:
        while not done():
            loop.step()
        return time.monotonic()

    first = until(lambda: sequence() >= 0)
    parts = until(lambda: (found := task()) is not None and found.in_parts)
    base = sequence()
    told = until(lambda: (found := task()) is not None and not found.in_parts)
    size = sum(tensor.nbytes for tensor in learner.parameters().values())
    pipe.send(Told(size, first - began, told - parts, sequence() - base, base, _peak_bytes() - at_start))
    until(pipe.poll)
    loop.close()


def _follow(setup: Setup, pipe: Connection) -> None:
    at_start = _peak_bytes()
    signer = load_signer(setup.key_file)
    lags_ms: dict[int, float] = {}

    def note(version: ModelVersion, _: float) -> None:
        lags_ms[version.version.sequence] = time.time() * 1000 - version.manifest.facts.published_at_ms

    began = time.monotonic()
    follower = ModelFollower(
        KafkaBroker(setup.bootstrap, prefix=setup.prefix),
        FollowerSettings("server", (MODEL,), keep_bytes_max=0),
        KeyRing.of(signer),
        WallClock(),
        Metrics(CollectorRegistry()),
        on_swap=[note],
    )
    while not (follower.ready and follower.current(MODEL)):
        follower.step(100)
    ready = time.monotonic()
    while not pipe.poll():
        follower.step(100)
    wanted = pipe.recv()
    while max(lags_ms, default=-1) <= wanted:
        follower.step(100)
    version = follower.current(MODEL)
    assert version is not None
    peak = _peak_bytes() - at_start
    right = tensors_digest(version.tensors) == version.manifest.digest
    follower.stop()
    pipe.send(Followed(ready - began, version.version, right, peak, lags_ms))


@contextmanager
def _running(target: Callable[[Setup, Connection], None], setup: Setup) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(setup, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(_WAIT_S)
    finally:
        process.kill()


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_WAIT_S):
        raise TimeoutError(f"no answer for {_WAIT_S:.0f} s")
    return pipe.recv()


@contextmanager
def _examples(broker: KafkaBroker) -> Iterator[None]:
    """Write a few examples, again and again."""
    stop, producer = threading.Event(), broker.producer()

    def write() -> None:
        while not stop.wait(EXAMPLES_EVERY_S):
            write_examples(producer, SCHEMA, EXAMPLES_AT_ONCE)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        producer.close()


def _peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not tell VmHWM")
