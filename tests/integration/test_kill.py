"""Kill -9 of every process of a whole pipeline while events flow: nothing is lost, nothing counts twice."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rheostat.schemas import catalogue, codec
from rheostat.streams.bench.load import SCHEMA, SimulatedLoad
from rheostat.streams.conservation import BooksReader
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import MODELS, Pipeline, prepare
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics

GROUPS = ("intake", "watch", "join", "learn", "monitor")
RATE = 300
DEADLINE_S = 60.0


class Flow:
    """Sends events in a thread until stopped."""

    def __init__(self, broker: Broker) -> None:
        self.load = SimulatedLoad(broker.producer())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.load.run(RATE, 0.2)

    def stop(self) -> int:
        """End the flow and return how many events were sent."""
        self._stop.set()
        self._thread.join(30)
        return self.load.sent


def served(pipeline: Pipeline) -> dict[str, Version]:
    """Return the versions that the server answers with; none while it is away."""
    try:
        with urlopen(f"{pipeline.url}/models", timeout=5) as answer:
            models = json.loads(answer.read())["models"]
            return {each["model"]: Version.parse(each["version"]) for each in models if each.get("version")}
    except (URLError, OSError):
        return {}


def moved_on(pipeline: Pipeline, before: dict[str, Version], by: int) -> Callable[[], bool]:
    """Whether every model is served in a version at least so much newer."""

    def check() -> bool:
        now = served(pipeline)
        return all(
            model in now and now[model] >= Version(was.epoch, was.sequence + by) for model, was in before.items()
        )

    return check


def ids_in(broker: Broker, topic: str) -> Counter[str]:
    log = broker.log()
    return Counter(
        each
        for number in range(log.partitions(topic))
        for block in log.read(topic, number)
        for each in codec.decode_fields(topic, block.values, 1).column(0).to_pylist()
    )


def ids_of_examples(broker: Broker) -> tuple[Counter[str], Counter[str]]:
    """Those of examples as they were first given, and of revisions: what the watch takes back is given again."""
    log, first, revised = broker.log(), Counter[str](), Counter[str]()
    for number in range(log.partitions(catalogue.EXAMPLES)):
        for block in log.read(catalogue.EXAMPLES, number):
            examples = codec.decode_own(catalogue.EXAMPLES, block.values)
            ids, revisions = (examples.column(name).to_pylist() for name in ("example_id", "revision"))
            for each, revision in zip(ids, revisions, strict=True):
                (revised if revision else first)[each] += 1
    return first, revised


def seen_by_watch(broker: Broker) -> int:
    """Return how many events the watch has looked at, by what it committed."""
    consumer = broker.static_consumer("rheostat-watch", [catalogue.LEDGER])
    partitions = [TopicPartition(catalogue.LEDGER, p) for p in range(broker.log().partitions(catalogue.LEDGER))]
    facts = [json.loads(each.metadata) for each in consumer.committed(partitions).values() if each.metadata]
    consumer.close()
    if not facts:
        return 0
    return int(max(facts, key=lambda each: int(each["seq"]))["counts"].get("seen", 0))


def test_every_process_may_be_killed_while_events_flow(kafka: str, tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, kafka, SCHEMA, GROUPS, prefix=f"kill-{uuid.uuid4().hex[:8]}.")
    broker = KafkaBroker(kafka, prefix=pipeline.config.kafka.prefix)
    create_topics(broker, pipeline.config.kafka.data_partitions, 1)
    with Children(tmp_path) as children:
        pipeline.start(children, GROUPS)
        children.wait_until(pipeline.ready, "the server is ready", DEADLINE_S)
        flow = Flow(broker)
        start = dict.fromkeys(MODELS, Version(0, 0))
        children.wait_until(moved_on(pipeline, start, 3), "versions arrive", DEADLINE_S)
        for name in (*GROUPS, "serve"):
            before = served(pipeline)
            assert before.keys() == MODELS.keys()
            children.kill(name)
            pipeline.restart(children, name)
            children.wait_until(moved_on(pipeline, before, 3), f"versions arrive after {name} was killed", DEADLINE_S)
        sent = flow.stop()
        reader = BooksReader(broker)
        children.wait_until(lambda: reader.read().total("consumed") >= sent, "intake has read everything", DEADLINE_S)
        children.wait_until(lambda: ids_of_examples(broker)[0].total() >= sent, "all are joined", DEADLINE_S)
        held = ids_in(broker, catalogue.QUARANTINE).total()
        children.wait_until(lambda: seen_by_watch(broker) >= sent + held, "the watch has seen everything", DEADLINE_S)
        assert seen_by_watch(broker) == sent + held
        books = reader.read()
        reader.close()
    assert books.balanced
    assert books.total("consumed") == sent
    assert books.total("accepted") == sent
    accepted = ids_in(broker, catalogue.LEDGER)
    assert len(accepted) == accepted.total() == sent
    joined, revised = ids_of_examples(broker)
    assert revised - ids_in(broker, catalogue.CORRECTIONS) == Counter()
    assert (joined - accepted, accepted - joined) == (Counter(), Counter())
