"""One run of the demo: broker, processes, the story, and the figures at the end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue
from rheostat.schemas.feature_dictionary import packaged_dictionary
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.conservation import FORWARDED, OUTCOMES, Books, BooksReader
from rheostat.streams.demo.crowd import Crowd, CrowdSettings
from rheostat.streams.demo.records import RecordSet
from rheostat.streams.demo.story import Story
from rheostat.streams.demo.watch import Watched, Watcher
from rheostat.streams.demo.world import TICK_S, Seen, World
from rheostat.streams.engine.broker import Broker
from rheostat.streams.errors import Retryable
from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import Pipeline, prepare
from rheostat.streams.provision import create_topics

BrokerKind = Literal["embedded", "kafka"]
GROUPS = ("intake", "join", "learn", "monitor")
SHOWN_MODEL = "linear"
BOOKS_EVERY_S = 1.0
FRAME_EVERY_S = 0.2
DRAIN_SECONDS_MAX = 10.0
Frame = Callable[[float, Seen, Watched, Books | None], None]


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo is asked for. A `bootstrap` uses a cluster that runs already."""

    records: RecordSet
    broker: BrokerKind = "embedded"
    bootstrap: str | None = None
    bursts: bool = True
    monitor: bool = True
    seed: int = 0
    story: Story = field(default_factory=Story)


def run_demo(
    settings: DemoSettings, connect: Callable[[Pipeline], Broker], frame: Frame, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run the story to its end and return the summary. Raises when a process fails or something is not reached."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rheostat-demo-") as name:
        folder = Path(name)
        say(f"starting the {settings.broker} broker")
        with _broker(settings, folder) as bootstrap:
            pipeline = _prepare(settings, folder, bootstrap)
            broker = connect(pipeline)
            create_topics(broker, pipeline.config.kafka.data_partitions, 1)
            with Children(folder) as children:
                say("starting intake, join, learn, monitor and serve as processes")
                pipeline.start(children, GROUPS)
                children.wait_until(pipeline.ready, "the server has a version of both models", 45)
                played = _play(settings, pipeline, broker, children, frame)
    return {**played, "broker": settings.broker, "seconds": round(time.monotonic() - began, 1)}


@contextmanager
def _broker(settings: DemoSettings, folder: Path) -> Iterator[str]:
    if settings.bootstrap is not None:
        yield settings.bootstrap
        return
    opened: AbstractContextManager[Any]
    if settings.broker == "embedded":
        from rheostat.streams.local.embedded import embedded_broker

        opened = embedded_broker()
    else:
        from rheostat.streams.local.kafka import local_kafka

        opened = local_kafka()
    with opened as running:
        yield running.bootstrap


def _prepare(settings: DemoSettings, folder: Path, bootstrap: str) -> Pipeline:
    records = settings.records
    return prepare(
        folder,
        bootstrap,
        FeatureSchema(f"{records.name}@1", records.feature_names),
        GROUPS,
        embedded=settings.broker == "embedded" and settings.bootstrap is None,
        prefix="" if settings.bootstrap is None else f"demo-{int(time.time())}.",
        settings={
            "intake": {"bursts_enabled": settings.bursts},
            "monitor": {"enabled": settings.monitor, **MONITOR},
            "kafka": {"data_partitions": 2, "interval_ms": 50},
            "learn": {"interval_ms": 50},
            "features": {"dir": str(packaged_dictionary())},
        },
    )


# A demo's minute stands for a day: bounds that suit production would not be reached in it.
MONITOR: dict[str, object] = {"baseline_events": 1_500, "recover_events": 300, "max_hold_ms": 30_000}


def _play(
    settings: DemoSettings, pipeline: Pipeline, broker: Broker, children: Children, frame: Frame
) -> dict[str, Any]:
    tracker = FreshnessTracker()
    watcher = Watcher(broker, tracker, SHOWN_MODEL)
    reader = BooksReader(broker)
    client = FeedbackClient(broker, source="review-app")
    crowd = Crowd(CrowdSettings(), settings.seed)
    world = World(
        settings.records,
        settings.story,
        crowd,
        pipeline.url,
        SHOWN_MODEL,
        client,
        broker.producer(),
        tracker,
        settings.seed,
    )
    began, books, books_at, frame_at = time.monotonic(), None, 0.0, 0.0
    while (second := time.monotonic() - began) < settings.story.end_at_s:
        world.step(second)
        if second - books_at >= BOOKS_EVERY_S:
            books, books_at = _read(reader) or books, second
            children.check()
        if second - frame_at >= FRAME_EVERY_S:
            frame(second, world.seen, watcher.watched, books)
            frame_at = second
        time.sleep(max(0.0, TICK_S - (time.monotonic() - began - second)))
    world.finish()
    books = _drained(reader, world.seen.sent)
    frame(second, world.seen, watcher.watched, books)
    watcher.stop()
    counted = count_records(broker)
    reader.close()
    return summary(world.seen, watcher.watched, books, counted, tracker)


def _drained(reader: BooksReader, sent: int) -> Books:
    """Return the books once everything sent is in them, or as they are when time is over."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    books = _read(reader)
    while (books is None or books.events < sent) and time.monotonic() < deadline:
        time.sleep(0.2)
        books = _read(reader)
    return books or reader.read()


def _read(reader: BooksReader) -> Books | None:
    """Return the books, or None while a transaction hides them."""
    try:
        return reader.read()
    except Retryable:
        return None


def count_records(broker: Broker) -> dict[str, int]:
    """Count what really lies in the topics that intake writes."""
    log = broker.log()
    topics = {"accepted": catalogue.LEDGER, "quarantined": catalogue.QUARANTINE, "invalid": catalogue.DEADLETTER}
    return {
        name: sum(len(block) for number in range(log.partitions(topic)) for block in log.read(topic, number))
        for name, topic in topics.items()
    }


def summary(
    seen: Seen, watched: Watched, books: Books, counted: dict[str, int], tracker: FreshnessTracker
) -> dict[str, Any]:
    """Return the figures. Conserved: the books balance, hold everything sent, and agree with the topics."""
    fresh = tracker.latencies_ms()
    conserved = (
        books.balanced
        and books.events == seen.sent
        and all(books.total(name) == count for name, count in counted.items())
    )
    return {
        "events_in": books.events,
        **{name: books.total(name) for name in OUTCOMES if name != FORWARDED},
        "conservation_ok": conserved,
        "models_published": sum(watched.published.values()),
        "auc_before_attack": _rounded(seen.auc_before_attack),
        "auc_worst": _rounded(seen.auc_worst),
        "auc_final": _rounded(seen.auc[-1][1] if seen.auc else None),
        "rollbacks": len(watched.rollbacks),
        "seconds_to_safe": _rounded(watched.seconds_to_safe()),
        "freshness_ms_p50": _rounded(float(np.percentile(fresh, 50)), 1) if len(fresh) else None,
        "freshness_ms_p99": _rounded(float(np.percentile(fresh, 99)), 1) if len(fresh) else None,
    }


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
