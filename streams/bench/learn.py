"""Throughput of one learner, exactly once and with every example tested first, by one worker on a backlog.

This is what a worker has before it when it comes back: simulated examples (see `simulated_examples`) lie in Kafka, on
the same machine, before the clock starts. What runs is the stage that the configuration gives, publication and all.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rheostat.learners.contract import Learner
from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.streams.bench.processors import Processors
from rheostat.streams.bench.simulated_examples import write_examples
from rheostat.streams.bench.steps import Steps, measured_steps
from rheostat.streams.bench.stopwatch import Stopwatch, cpu_seconds
from rheostat.streams.clock import WallClock
from rheostat.streams.collector import collect_rarely
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.kafka_consumer import KafkaStaticConsumer
from rheostat.streams.engine.kafka_producer import KafkaTransactionalProducer
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.engine.stage import Log
from rheostat.streams.learn import evaluation, history
from rheostat.streams.learn.history import partition_of
from rheostat.streams.learn.publication import Publisher
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.models.manifest import decode_manifest

MODELS: Mapping[str, str] = {"linear": "linear", "torch": "deep"}
"""What can be measured, with its model of `local.pipeline`."""


class Span(NamedTuple):
    """Offsets of `examples` in one partition, the end exclusive."""

    partition: int
    start: int
    end: int


def bench_learn(
    broker: Broker,
    stage: LearnStage,
    untrained: Learner,
    examples: int,
    *,
    limits: LoopLimits | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Write examples of the model's feature set, have the stage learn them, check what it wrote.

    The topics must exist and be empty; `untrained` is a learner like the stage's. `seconds` runs from just before the
    first transaction to the end of the last. `verified` says that there are no `faults`. `cpu_us_per_example` is the
    whole process, Kafka's client with it; `step_us_per_example` the thread doing the work.
    """
    schema, producer = untrained.schema, broker.producer()
    write_examples(producer, schema, examples)
    producer.close()
    watch = Stopwatch(examples, progress)
    loop = StageLoop(stage, broker, slot="bench", clock=WallClock(), limits=limits, observer=watch)
    collect_rarely()
    cpu_before, processors = cpu_seconds(), Processors()
    try:
        with measured_steps(_steps(type(untrained))) as steps:
            watch.drain(loop)
        used, cpu = processors.summary(), cpu_seconds() - cpu_before
        task = loop.tasks[ALL_PARTITIONS]
    finally:
        loop.close()
    assert isinstance(task, LearnTask)
    found = faults(broker, stage, examples)
    return {
        "bench": "learn",
        "input": "simulated",
        "examples": examples,
        "numeric": len(schema.numeric),
        "categorical": len(schema.categorical),
        "examples_per_s": round(examples / watch.seconds),
        "seconds": round(watch.seconds, 3),
        "cpu_us_per_example": round(cpu / examples * 1e6, 2),
        "step_us_per_example": {step: round(spent / examples * 1e6, 3) for step, spent in steps.items()},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "transactions": watch.transactions,
        "tested": task.tested,
        "learned": task.learned,
        "bases": task.bases,
        "deltas": task.deltas,
        **used,
        "verified": not found,
        "faults": found,
    }


def faults(broker: Broker, stage: LearnStage, examples: int) -> list[str]:
    """Return what is wrong with the record of what was tested and learned; nothing, if every example was, and once.

    Asked is the log, by a read_committed reader: the offsets that evaluations and manifests name must go without gap
    and without overlap to the end of every partition, which must be what is committed, and their counts must add up.
    """
    log, model = broker.log(), stage.settings.model
    ends = _committed(broker, stage)
    found = [
        f"partition {number}: committed is {end}, but more follows"
        for number, end in ends.items()
        if any(len(block) for block in log.read(catalogue.EXAMPLES, number, start_offset=end))
    ]
    for what, (count, spans) in {"tested": _tested(log, model), "learned": _learned(log, model)}.items():
        if count != examples:
            found.append(f"{what}: {count} of {examples} examples")
        found += [f"{what}: {fault}" for fault in misfits(spans, ends)]
    return found


def misfits(spans: Iterable[Span], ends: Mapping[int, int]) -> list[str]:
    """Return where spans leave gaps between 0 and the ends of their partitions, or overlap."""
    by_partition: dict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_partition[span.partition].append(span)
    found = []
    for number in sorted(ends.keys() | by_partition.keys()):
        end = ends.get(number, 0)
        at = 0
        for span in [*sorted(by_partition[number]), Span(number, end, end)]:
            if span.start != at:
                found.append(f"partition {number}: {'gap' if span.start > at else 'overlap'} at offset {at}")
            at = span.end
    return found


def _steps(learner: type) -> Steps:
    return (
        ("poll", KafkaStaticConsumer, "poll"),
        ("decode", history, "decode_examples"),
        ("test", evaluation, "evaluate"),
        ("score", learner, "predict"),
        ("learn", learner, "learn"),
        ("learn", learner, "flush"),
        ("publish", Publisher, "publish"),
        ("queue", KafkaTransactionalProducer, "write"),
        ("commit", KafkaTransactionalProducer, "send_offsets"),
        ("commit", KafkaTransactionalProducer, "commit"),
    )


def _committed(broker: Broker, stage: LearnStage) -> dict[int, int]:
    consumer = broker.static_consumer(f"rheostat-{stage.name}", [catalogue.EXAMPLES])
    try:
        at = [TopicPartition(catalogue.EXAMPLES, each) for each in range(broker.log().partitions(catalogue.EXAMPLES))]
        return {each.partition: place.offset or 0 for each, place in consumer.committed(at).items()}
    finally:
        consumer.close()


def _tested(log: Log, model: str) -> tuple[int, list[Span]]:
    count, spans = 0, []
    for record in _records(log, catalogue.EVALUATIONS, model):
        if record["model"] == model:
            count += sum(cell["count"] for cell in record["cells"])
            spans += [Span(each["partition"], each["start"], each["end"]) for each in record["ranges"]]
    return count, spans


def _learned(log: Log, model: str) -> tuple[int, list[Span]]:
    count, spans = 0, []
    for record in _records(log, catalogue.MODELS, model):
        if record["chunk"] == 0 and (manifest := decode_manifest(record["manifest"])).model == model:
            count += sum(each.count for each in manifest.facts.training)
            spans += [Span(each.partition, each.start, each.end) for each in manifest.facts.training]
    return count, spans


def _records(log: Log, topic: str, model: str) -> Iterator[dict[str, Any]]:
    for block in log.read(topic, partition_of(log, topic, model)):
        yield from (decode_record(topic, value) for value in block.values if value is not None)
