"""Kill -9 of a learner at random moments: it ends where a learner that nobody ever stopped does, to the bit."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.keys import create_keys
from rheostat.streams.learn.reproduce import reproduce
from rheostat.streams.models.manifest import Manifest, decode_manifest
from rheostat.streams.provision import create_topics
from tests.support.examples import an_example
from tests.support.learner_process import MODEL, linear, starter

KILLS = 100
PARTITIONS = 2
RATE_A_SECOND = 400
DEADLINE_S = 120.0


class Flow:
    """Writes examples, one in ten of which is revised at once or later, in a thread until stopped."""

    def __init__(self, broker: Broker) -> None:
        self.sent = 0
        self._producer = broker.producer()
        self._random = random.Random(7)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.05):
            for _ in range(RATE_A_SECOND // 20):
                record = an_example(number)
                self._send(record)
                if number % 10 == 0:
                    old = an_example(self._random.randint(max(0, number - 500), number))
                    self._send(old | {"revision": 1, "was_label": old["label"], "was_weight": 1.0, "weight": 0.0})
                number += 1

    def _send(self, record: dict[str, object]) -> None:
        value = codec.encode_record(catalogue.EXAMPLES, record)
        # Of now: the broker deletes what is older than the topic keeps.
        now_ms = int(time.time() * 1000)
        self._producer.send(catalogue.EXAMPLES, str(record["prediction_id"]).encode(), value, timestamp_ms=now_ms)
        self.sent += 1

    def stop(self) -> int:
        """End the flow; return how many records it wrote."""
        self._stop.set()
        self._thread.join(30)
        self._producer.flush(30_000)
        return self.sent


def manifests(broker: Broker) -> list[Manifest]:
    log, found = broker.log(), []
    for number in range(log.partitions(catalogue.MODELS)):
        for block in log.read(catalogue.MODELS, number):
            records = [codec.decode_record(catalogue.MODELS, value) for value in block.values if value is not None]
            found += [decode_manifest(each["manifest"]) for each in records if each["chunk"] == 0]
    return found


class Published:
    """Whether anything was published since now."""

    def __init__(self, broker: Broker) -> None:
        self._log = broker.log()
        self._end = max((block.next_offset for block in self._log.read(catalogue.MODELS, 0)), default=0)

    def more(self) -> bool:
        return any(self._log.read(catalogue.MODELS, 0, start_offset=self._end))


def wait(process: BaseProcess, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.exitcode is None, "the learner ended by itself"
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s for this: {what}"
        process.join(0.05)


def learned(versions: list[Manifest]) -> int:
    """Return how many records the versions say they were made of."""
    return sum(each.count for version in versions for each in version.facts.training)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_a_learner_killed_a_hundred_times_ends_where_an_uninterrupted_one_does(kafka: str, tmp_path: Path) -> None:
    prefix, moments = f"killed-{uuid.uuid4().hex[:8]}.", random.Random(1)
    broker = KafkaBroker(kafka, prefix=prefix)
    create_topics(broker, PARTITIONS, 1)
    create_keys(tmp_path)
    start, flow = starter(kafka, prefix, tmp_path), Flow(broker)
    for number in range(KILLS):
        published = Published(broker)
        process = start()
        if number % 2:
            wait(process, published.more, "a version is published")
        process.join(moments.uniform(0.0, 0.5))
        assert process.exitcode is None, "the learner ended by itself"
        process.kill()
        process.join()
    sent = flow.stop()
    process = start()
    wait(process, lambda: learned(manifests(broker)) >= sent, "all is learned")
    process.kill()
    process.join()
    versions = manifests(broker)
    assert learned(versions) == sent
    last = versions[-1]
    assert last.version.sequence == len(versions) - 1
    undisturbed = reproduce(broker.log(), MODEL, last.version, linear)
    assert undisturbed.digest == last.digest
