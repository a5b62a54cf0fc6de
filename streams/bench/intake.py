"""Throughput of intake, exactly once, by one worker: this process, the broker on the same machine.

Simulated input, loaded before the clock starts: valid events of all three channels from 20,000 subjects on 5,000
targets, 5 % of them repeats of earlier ones, 20 a millisecond of event time.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema, decode_fields, encode_block
from rheostat.streams.bench.processors import Processors
from rheostat.streams.clock import WallClock
from rheostat.streams.collector import collect_rarely
from rheostat.streams.engine.broker import Broker, TopicSpec
from rheostat.streams.engine.loop import NoObserver, StageLoop
from rheostat.streams.errors import Retryable
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage, IntakeTask

Longs = NDArray[np.int64]

REPEATS = 0.05
SUBJECTS = 20_000
TARGETS = 5_000
EVENTS_PER_MS = 20
_BLOCK = 10_000
_FLUSH_TIMEOUT_MS = 60_000
_STALL_S = 60.0
_KINDS = (
    (catalogue.FEEDBACK_EXPLICIT, ("thumb", "accept", "correct", "incorrect")),
    (catalogue.FEEDBACK_IMPLICIT, ("click", "copy", "dismiss", "undo")),
    (catalogue.FEEDBACK_OUTCOME, ("conversion", "task_completed")),
)
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd 128-bit factor that makes ids of numbers look random."""


def bench_intake(broker: Broker, records: int, *, partitions: int = 4) -> dict[str, Any]:
    """Load events, run intake over them, check its output; the topics must not exist yet.

    `seconds` runs from just before the first transaction to the end of the last. `verified` says that every distinct
    event was found once in ledger and quarantine together, by a read_committed reader, and that the counts balance.
    """
    create = [*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.LEDGER, catalogue.QUARANTINE, catalogue.DEADLETTER]
    broker.create_topics([TopicSpec(topic, partitions, catalogue.TOPICS[topic].config()) for topic in create])
    numbers = _numbers(records)
    _load(broker, numbers)
    observer = _Stopwatch()
    settings = IntakeSettings(pseudonym_key=b"a key for benchmarks alone")
    loop = StageLoop(IntakeStage(settings), broker, slot="bench", clock=WallClock(), observer=observer)
    collect_rarely()
    cpu_before = _cpu_seconds()
    processors = Processors()
    try:
        _run(loop, observer, records)
        used = processors.summary()
        counts = sum((task.counts for task in loop.tasks.values() if isinstance(task, IntakeTask)), Counts())
        cpu = _cpu_seconds() - cpu_before
    finally:
        loop.close()
    seconds = observer.ended - observer.began
    return {
        "bench": "intake",
        "input": "simulated",
        "records": records,
        "partitions": partitions,
        "events_per_s": round(records / seconds),
        "seconds": round(seconds, 3),
        "cpu_us_per_record": round(cpu / records * 1e6, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "transactions": observer.transactions,
        **used,
        **counts.as_json(),
        "verified": _verified(broker, partitions, numbers, counts),
    }


class _Stopwatch(NoObserver):
    """Measures from the beginning of the first transaction to the end of the last."""

    def __init__(self) -> None:
        self.began = 0.0
        self.ended = 0.0
        self.consumed = 0
        self.transactions = 0

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Note the time."""
        self.ended = time.perf_counter()
        if not self.transactions:
            self.began = self.ended - seconds
        self.transactions += 1
        self.consumed += sum(records_in.values())


def _run(loop: StageLoop, observer: _Stopwatch, records: int) -> None:
    moved = time.perf_counter()
    while observer.consumed < records:
        if loop.step():
            moved = time.perf_counter()
        elif time.perf_counter() - moved > _STALL_S:
            raise RuntimeError(f"intake stopped after {observer.consumed} of {records} records")


def _numbers(records: int) -> Longs:
    """Return the number of each event; a repeated number is a repeated event."""
    random = np.random.default_rng(0)
    repeats = random.random(records) < REPEATS
    repeats[:1] = False
    fresh = np.cumsum(~repeats) - 1
    return np.where(repeats, (random.random(records) * (fresh + 1)).astype(np.int64), fresh)


def _load(broker: Broker, numbers: Longs) -> None:
    """Write the events in order, in place, as a service would."""
    producer = broker.producer()
    newest_ms = time.time_ns() // 1_000_000
    oldest_ms = newest_ms - len(numbers) // EVENTS_PER_MS
    for start in range(0, len(numbers), _BLOCK):
        for topic, key, value, at_ms in _events(numbers[start : start + _BLOCK], oldest_ms):
            while True:
                try:
                    producer.send(topic, key, value, timestamp_ms=at_ms)
                    break
                except Retryable:
                    producer.flush(_FLUSH_TIMEOUT_MS)
    if producer.flush(_FLUSH_TIMEOUT_MS):
        raise RuntimeError("the broker did not take the input")
    producer.close()


def _events(numbers: Longs, oldest_ms: int) -> Iterator[tuple[str, bytes, bytes, int]]:
    """Return topic, key, value and time of events; an event is a function of its number."""
    for remainder, (topic, kinds) in enumerate(_KINDS):
        chosen = numbers[numbers % len(_KINDS) == remainder]
        times = oldest_ms + chosen // EVENTS_PER_MS
        keys = [f"p-{_id(number)}".encode() for number in chosen.tolist()]
        values = encode_block(topic, _batch(topic, kinds, chosen, times))
        yield from zip([topic] * len(keys), keys, values, times.tolist(), strict=True)


def _id(number: int) -> str:
    return f"{(number + 1) * _SPREAD % 2**128:032x}"


def _batch(topic: str, kinds: tuple[str, ...], numbers: Longs, times: Longs) -> pa.RecordBatch:
    ids = list(map(_id, numbers.tolist()))
    columns = {
        "event_id": pa.array(ids, pa.string()),
        "prediction_id": pa.array([f"p-{each}" for each in ids], pa.string()),
        "subject_id": pa.array([f"user-{number * 7_919 % SUBJECTS}" for number in numbers.tolist()], pa.string()),
        "target_id": pa.array([f"item-{number * 104_729 % TARGETS}" for number in numbers.tolist()], pa.string()),
        "kind": pa.DictionaryArray.from_arrays(pa.array(numbers // len(_KINDS) % len(kinds)), pa.array(kinds)).cast(
            pa.string()
        ),
        "value": pa.array((numbers // 7 % 3 > 0).astype(np.float64)),
        "occurred_at": pa.array(times).cast(pa.timestamp("ms")),
        "source": pa.array(["bench"] * len(ids), pa.string()),
        "consent": pa.array([True] * len(ids), pa.bool_()),
    }
    schema = arrow_schema(topic)
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema
    )


def _verified(broker: Broker, partitions: int, numbers: Longs, counts: Counts) -> bool:
    expected = {_id(number) for number in np.unique(numbers).tolist()}
    log, found = broker.log(), 0
    for topic in (catalogue.LEDGER, catalogue.QUARANTINE):
        for partition in range(partitions):
            for block in log.read(topic, partition):
                ids = decode_fields(topic, block.values, 1).column("event_id").to_pylist()
                found += len(ids)
                expected.difference_update(ids)
    once = not expected and found == len(np.unique(numbers))
    return once and counts.consumed == len(numbers) and not counts.imbalance


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
