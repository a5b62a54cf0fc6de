"""The benchmarks do the work they claim to measure."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pyarrow as pa
import pyruhvro
import pytest

from rheostat.schemas import catalogue
from rheostat.streams.bench.contender import CompareStage
from rheostat.streams.bench.intake import bench_intake
from rheostat.streams.bench.steps import STEPS, measured_steps
from rheostat.streams.clock import ManualClock, WallClock
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from tests.support.brokers import read_values

AVRO = {
    "type": "record",
    "name": "Seen",
    "fields": [{"name": "event_id", "type": "string"}, {"name": "note", "type": ["null", "string"], "default": None}],
}


def test_the_intake_benchmark_counts_and_verifies() -> None:
    broker = MemoryBroker(WallClock())
    found = bench_intake(broker, 3_000, partitions=2)
    assert found["verified"] is True
    assert found["consumed"] == 3_000
    assert found["accepted"] + found["duplicate"] == 3_000
    assert 80 < found["duplicate"] < 250
    assert found["forwarded"] == found["invalid"] == 0
    assert sum(len(read_values(broker, catalogue.LEDGER, number)) for number in range(2)) == found["accepted"]


def test_every_step_is_measured_once_and_its_function_put_back() -> None:
    before = [getattr(owner, name) for _, owner, name in STEPS]
    with measured_steps() as seconds:
        began = time.thread_time()
        bench_intake(MemoryBroker(WallClock()), 2_000, partitions=1)
        spent = time.thread_time() - began
    assert [getattr(owner, name) for _, owner, name in STEPS] == before
    of_kafka = {"poll", "queue", "commit"}
    assert {step for step, *_ in STEPS} - of_kafka <= set(seconds)
    assert all(each >= 0 for each in seconds.values())
    assert sum(seconds.values()) == pytest.approx(spent, abs=0.05)


def wire(rows: Sequence[tuple[str, str | None]]) -> list[bytes]:
    batch = pa.table({"event_id": [row[0] for row in rows], "note": pa.array([row[1] for row in rows], pa.string())})
    (encoded,) = pyruhvro.serialize_record_batch(batch.to_batches()[0], json.dumps(AVRO), 1)
    return [b"\x00\x00\x00\x00\x01" + body for body in encoded.to_pylist()]


def test_the_contender_keeps_the_first_of_each_id_byte_for_byte_over_a_restart() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock, wait_ms=0)
    broker.create_topics([TopicSpec("in", 1), TopicSpec("out", 1)])
    stage = CompareStage("in", "out", AVRO, ids_max=1_000)
    producer = broker.producer()

    def run(rows: list[tuple[str, str | None]]) -> None:
        for (name, _), value in zip(rows, wire(rows), strict=True):
            producer.send("in", name.encode(), value, timestamp_ms=clock.now_ms())
        loop = StageLoop(stage, broker, slot="0", clock=clock, limits=LoopLimits(poll_timeout_ms=0, interval_ms=0))
        for _ in range(5):
            loop.step()
        loop.close()

    first = [(f"id-{i}", None if i % 2 else f"note {i}") for i in range(50)]
    run([*first, ("id-3", "again")])
    run([("id-7", "again"), ("new", "x"), ("new", "y")])
    assert read_values(broker, "out") == wire([*first, ("new", "x")])
