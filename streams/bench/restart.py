"""Restart after kill -9: what a worker of intake holds, and how long until it processes again.

The ids come to the worker by the only way it has to remember anything: they are read from the ledger when its
partitions are opened. To have millions of them there soon, the ledger is filled directly, with the entries that intake
writes of such events, spread over 20 hours; then the worker runs, is sent new events and repeats of what is in the
ledger, is killed while more arrive, and is started again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_fields
from rheostat.streams.bench.numbered_events import Longs, event_id, feedback, flush, ledger_entries, send_all
from rheostat.streams.conservation import Books, BooksReader
from rheostat.streams.engine.broker import Broker, Producer, Tailer
from rheostat.streams.intake.deduplicate import Deduplicator
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import Pipeline

STAGES = "intake"
FILLED_OVER_MS = 20 * 3_600_000
RATE = 1_000
"""New events a second while the worker is killed and started."""

_FILL_BLOCK = 20_000
_WARM_UP_EVENTS = 2_000
_REPEATS = 1_000
_TICK_S = 0.02
_RESTORED_PER_S_MIN = 50_000
_GOES_ON_S = 2.0

Progress = Callable[[float], None]


def bench_restart(broker: Broker, pipeline: Pipeline, folder: Path, ids: int, *, progress: Progress) -> dict[str, Any]:
    """Fill, run, kill and start again; the topics must be empty. `pipeline` has a worker named STAGES.

    Returns, of the second life: `seconds_to_processing` from its start to the commit of the first event sent after the
    kill, as seen by a reader of committed records, and its phases: `start_s` until it answers on its metrics port
    (interpreter, imports, compiled code), `restore_s` reading the ledger, and `join_and_first_commit_s`, the rest:
    the group has to miss the dead member before its partitions are given to the new one, which reads meanwhile.
    `resident_mb` and `peak_mb` are as the kernel has them, in 1e6 bytes; `empty_mb` is the same worker before there was
    any id. `table_bytes_per_id` is the memory that duplicates are found by. `verified`: no event was lost, and every
    repeat was found.
    """
    deadline_s = 60 + ids / _RESTORED_PER_S_MIN
    with Children(folder) as children:
        worker = _Worker(pipeline, children)
        worker.start(deadline_s)
        empty_mb = worker.memory_mb("VmRSS")
        children.stop()
        _fill(broker, ids, lambda done: progress(0.7 * done))
        worker.start(deadline_s)
        progress(0.8)
        flow = _Flow(broker, ids)
        flow.send(_WARM_UP_EVENTS)
        flow.repeat(_REPEATS, ids)
        _settle(broker, children, flow, deadline_s)
        flow.until_processed(children, deadline_s, at_least_s=_GOES_ON_S)
        children.kill(STAGES)
        phases = _started_again(worker, flow, deadline_s)
        progress(0.9)
        flow.repeat(_REPEATS, ids)
        books = _settle(broker, children, flow, deadline_s)
        flow.close()
        resident_mb, peak_mb = worker.memory_mb("VmRSS"), worker.memory_mb("VmHWM")
    verified = books.balanced and books.total("accepted") == flow.new and books.total("duplicate") == flow.repeated
    return {
        "bench": "restart",
        "input": "simulated",
        "ids": ids,
        **phases,
        "restore_records_per_s": round(ids / phases["restore_s"]),
        "table_bytes_per_id": round(_table_bytes(ids, pipeline.config.kafka.data_partitions) / ids, 2),
        "empty_mb": empty_mb,
        "resident_mb": resident_mb,
        "peak_mb": peak_mb,
        "new": flow.new,
        "repeated": flow.repeated,
        "verified": verified,
    }


@dataclass(slots=True)
class _Worker:
    """The worker process, and what it says of itself."""

    pipeline: Pipeline
    children: Children

    def start(self, deadline_s: float) -> None:
        """Start it and wait until all its partitions are open."""
        self.pipeline.restart(self.children, STAGES)
        self.children.wait_until(lambda: self.open_tasks() == self.partitions, "partitions are open", deadline_s)

    @property
    def partitions(self) -> int:
        """How many partitions it will own."""
        return self.pipeline.config.kafka.data_partitions

    def answers(self) -> bool:
        """Whether it serves its metrics."""
        return self._metrics() is not None

    def open_tasks(self) -> int:
        """How many partitions are open."""
        return int(self._value("stage_open_tasks"))

    def restored_s(self) -> float:
        """How long opening them took, one after the other."""
        return self._value("stage_restore_seconds_sum")

    def memory_mb(self, name: str) -> float:
        """Return one line of the kernel's status of the process: VmRSS or VmHWM."""
        process = next(each.process for each in self.children.running if each.name == STAGES)
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        assert found is not None, f"no {name} in /proc/{process.pid}/status"
        return round(int(found[1]) * 1024 / 1e6, 1)

    def _value(self, name: str) -> float:
        found = re.search(rf'^rheostat_{name}{{stage="{STAGES}"}} (\S+)$', self._metrics() or "", re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _metrics(self) -> str | None:
        try:
            with urlopen(f"http://127.0.0.1:{self.pipeline.metrics_ports[STAGES]}/metrics", timeout=2) as answer:
                return str(answer.read().decode())
        except (URLError, OSError):
            return None


@dataclass(slots=True)
class _Flow:
    """Sends numbered events, and sees them come out of intake. `new` and `repeated` count what was sent."""

    broker: Broker
    first: int
    new: int = 0
    repeated: int = 0
    _producer: Producer = field(init=False)
    _tailer: Tailer = field(init=False)
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._producer = self.broker.producer()
        self._tailer = self.broker.tailer([catalogue.LEDGER], from_beginning=False)
        self._random = np.random.default_rng(0)

    def send(self, count: int) -> list[str]:
        """Send new events; return their ids."""
        numbers = np.arange(self.first + self.new, self.first + self.new + count)
        self._send(numbers)
        self.new += count
        return list(map(event_id, numbers.tolist()))

    def repeat(self, count: int, among: int) -> None:
        """Send events again that are in the ledger since it was filled."""
        self._send(self._random.choice(among, count, replace=False))
        self.repeated += count

    def until_processed(self, children: Children, deadline_s: float, *, at_least_s: float = 0.0) -> None:
        """Send new events, a little at a time, until one of them was committed to the ledger."""
        began = time.monotonic()
        waiting: set[str] = set()

        def processed() -> bool:
            waiting.update(self.send(round(RATE * _TICK_S)))
            blocks = self._tailer.poll(100_000, round(1_000 * _TICK_S))
            ids = (decode_fields(each.topic, each.values, 1).column("event_id").to_pylist() for each in blocks)
            found = any(not waiting.isdisjoint(some) for some in ids)
            return found and time.monotonic() - began >= at_least_s

        children.wait_until(processed, "intake processes events", deadline_s)

    def _send(self, numbers: Longs) -> None:
        send_all(self._producer, feedback(numbers, np.full(len(numbers), time.time_ns() // 1_000_000)))
        flush(self._producer)

    def close(self) -> None:
        """Release everything."""
        self._producer.close()
        self._tailer.close()


def _started_again(worker: _Worker, flow: _Flow, deadline_s: float) -> dict[str, float]:
    """Start the worker and send it events; return how long it took to process one, and the phases of that."""
    began = time.perf_counter()
    worker.pipeline.restart(worker.children, STAGES)
    worker.children.wait_until(worker.answers, "the worker answers", deadline_s)
    answered = time.perf_counter()
    flow.until_processed(worker.children, deadline_s)
    processed = time.perf_counter()
    worker.children.wait_until(lambda: worker.open_tasks() == worker.partitions, "partitions are open", deadline_s)
    return {
        "seconds_to_processing": round(processed - began, 3),
        "start_s": round(answered - began, 3),
        "restore_s": round(worker.restored_s(), 3),
        "join_and_first_commit_s": round(processed - answered - worker.restored_s(), 3),
    }


def _fill(broker: Broker, ids: int, progress: Progress) -> None:
    producer = broker.producer()
    oldest_ms = time.time_ns() // 1_000_000 - FILLED_OVER_MS
    for start in range(0, ids, _FILL_BLOCK):
        numbers = np.arange(start, min(ids, start + _FILL_BLOCK))
        send_all(producer, ledger_entries(numbers, oldest_ms + numbers * FILLED_OVER_MS // ids))
        progress(start / ids)
    flush(producer)
    producer.close()


def _settle(broker: Broker, children: Children, flow: _Flow, deadline_s: float) -> Books:
    """Wait until intake has consumed what was sent."""
    reader = BooksReader(broker)
    try:
        children.wait_until(lambda: reader.read().events >= flow.new + flow.repeated, "all is consumed", deadline_s)
        return reader.read()
    finally:
        reader.close()


def _table_bytes(ids: int, partitions: int) -> int:
    """Return the memory that holds so many ids, by filling it with as many random ones."""
    random, each = np.random.default_rng(0), ids // partitions
    table = Deduplicator(86_400_000, max(each, 1))
    for start in range(0, each, _FILL_BLOCK):
        count = min(_FILL_BLOCK, each - start)
        table.remember(Fingerprints(*random.integers(0, 2**64, (2, count), np.uint64)), np.full(count, start))
    return table.nbytes * partitions
