"""Throughput of intake, exactly once, by one worker: this process, the broker on the same machine.

Simulated input (see `numbered_events`), loaded before the clock starts: 5 % of the events are repeats of earlier ones,
20 come in a millisecond of event time.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_fields
from rheostat.streams.bench.numbered_events import event_id, feedback, flush, send_all
from rheostat.streams.bench.processors import Processors
from rheostat.streams.bench.steps import measured_steps
from rheostat.streams.bench.stopwatch import Stopwatch, cpu_seconds
from rheostat.streams.clock import WallClock
from rheostat.streams.collector import collect_rarely
from rheostat.streams.engine.broker import Broker, TopicSpec
from rheostat.streams.engine.loop import StageLoop
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage, IntakeTask

Longs = NDArray[np.int64]

REPEATS = 0.05
EVENTS_PER_MS = 20
_BLOCK = 10_000


def bench_intake(broker: Broker, records: int, *, partitions: int = 4) -> dict[str, Any]:
    """Load events, run intake over them, check its output; the topics must not exist yet.

    `seconds` runs from just before the first transaction to the end of the last. `verified` says that every distinct
    event was found once in ledger and quarantine together, by a read_committed reader, and that the counts balance.
    `cpu_us_per_record` is the whole process, Kafka's client with it; `step_us_per_record` the thread doing the work.
    """
    create = [
        *catalogue.FEEDBACK,
        catalogue.REKEYED,
        catalogue.RELEASED,
        catalogue.ALARMS,
        catalogue.LEDGER,
        catalogue.CORRECTIONS,
        catalogue.QUARANTINE,
        catalogue.DEADLETTER,
    ]
    broker.create_topics([TopicSpec(topic, partitions, catalogue.TOPICS[topic].config()) for topic in create])
    numbers = _numbers(records)
    _load(broker, numbers)
    watch = Stopwatch(records)
    settings = IntakeSettings(pseudonym_key=b"a key for benchmarks alone")
    loop = StageLoop(IntakeStage(settings), broker, slot="bench", clock=WallClock(), observer=watch)
    collect_rarely()
    cpu_before = cpu_seconds()
    processors = Processors()
    try:
        with measured_steps() as steps:
            watch.drain(loop)
        used = processors.summary()
        counts = sum((task.counts for task in loop.tasks.values() if isinstance(task, IntakeTask)), Counts())
        cpu = cpu_seconds() - cpu_before
    finally:
        loop.close()
    return {
        "bench": "intake",
        "input": "simulated",
        "records": records,
        "partitions": partitions,
        "events_per_s": round(records / watch.seconds),
        "seconds": round(watch.seconds, 3),
        "cpu_us_per_record": round(cpu / records * 1e6, 2),
        "step_us_per_record": {step: round(spent / records * 1e6, 2) for step, spent in steps.items()},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "transactions": watch.transactions,
        **used,
        **counts.as_json(),
        "verified": _verified(broker, partitions, numbers, counts),
    }


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
    oldest_ms = time.time_ns() // 1_000_000 - len(numbers) // EVENTS_PER_MS
    for start in range(0, len(numbers), _BLOCK):
        some = numbers[start : start + _BLOCK]
        send_all(producer, feedback(some, oldest_ms + some // EVENTS_PER_MS))
    flush(producer)
    producer.close()


def _verified(broker: Broker, partitions: int, numbers: Longs, counts: Counts) -> bool:
    expected = {event_id(number) for number in np.unique(numbers).tolist()}
    log, found = broker.log(), 0
    for topic in (catalogue.LEDGER, catalogue.QUARANTINE):
        for partition in range(partitions):
            for block in log.read(topic, partition):
                ids = decode_fields(topic, block.values, 1).column("event_id").to_pylist()
                found += len(ids)
                expected.difference_update(ids)
    once = not expected and found == len(np.unique(numbers))
    return once and counts.consumed == len(numbers) and not counts.imbalance
