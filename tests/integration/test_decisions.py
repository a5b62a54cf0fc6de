"""What people decide from the command line, on a real Kafka: replay dead letters, release and reject what is held."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.clock import WallClock
from rheostat.streams.conservation import read_books
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import StageLoop
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.provision import create_topics
from tests.support.brokers import await_condition
from tests.support.feedback import KEY, event, publish_events

PARTITIONS = 2
HOUR_MS = 3_600_000


class Installation:
    """Topics on a real broker, the verbs, and intake while one wants it."""

    def __init__(self, kafka: str) -> None:
        self.kafka = kafka
        self.prefix = f"decide-{uuid.uuid4().hex[:8]}."
        self.broker = KafkaBroker(kafka, prefix=self.prefix)
        create_topics(self.broker, PARTITIONS, 1)

    def rheostat(self, *arguments: str) -> tuple[int, Any]:
        """Run a verb; return its exit code and what it printed as JSON, or what it complained of."""
        where = ("--bootstrap", self.kafka, "--set", f"kafka.prefix={self.prefix}", "--json")
        command = [sys.executable, "-m", "rheostat.streams.cli.main", *arguments, *where]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    @contextmanager
    def intake(self, **settings: Any) -> Iterator[StageLoop]:
        bursts = BurstSettings(events_min=5, downweight_at=0.3, quarantine_at=0.4)
        stage = IntakeStage(IntakeSettings(KEY, bursts=bursts, **settings))
        loop = StageLoop(stage, self.broker, slot="0", clock=WallClock())
        try:
            yield loop
        finally:
            loop.close()

    def take_in(self, consumed: int, **settings: Any) -> None:
        """Run intake until it has consumed so many records in all."""

        def read_all() -> bool:
            loop.step()
            return read_books(self.broker).total("consumed") == consumed

        with self.intake(**settings) as loop:
            await_condition(read_all, f"intake has consumed {consumed} records")
        assert read_books(self.broker).balanced

    def ledger(self) -> Counter[str]:
        log = self.broker.log()
        return Counter(
            codec.decode_record(catalogue.LEDGER, value)["event_id"]
            for number in range(PARTITIONS)
            for block in log.read(catalogue.LEDGER, number)
            for value in block.values
        )


def test_dead_letters_are_found_shown_and_replayed_once(kafka: str) -> None:
    world = Installation(kafka)
    now_ms = WallClock().now_ms()
    old = [event(f"old-{number}", occurred_at=now_ms - 3 * HOUR_MS) for number in range(4)]
    wrong = event("wrong", value=7.0, occurred_at=now_ms)
    publish_events(world.broker, catalogue.FEEDBACK_EXPLICIT, PARTITIONS, [*old, wrong])
    world.take_in(5, max_past_ms=HOUR_MS)

    code, found = world.rheostat("deadletter", "list", "--where", "field=occurred_at")
    assert (code, len(found["letters"]), found["more"]) == (0, 4, False)
    code, letter = world.rheostat("deadletter", "show", found["letters"][0]["place"])
    assert letter["field"] == "occurred_at"
    assert letter["decoded"]["event_id"].startswith("old-")
    where = ("--where", "field=occurred_at")
    assert world.rheostat("deadletter", "replay", *where, "--dry-run") == (0, {"would_send": 4, "sent_before": 0})
    assert world.rheostat("deadletter", "replay", *where) == (0, {"sent": 4, "sent_before": 0})
    assert world.rheostat("deadletter", "replay", *where) == (0, {"sent": 0, "sent_before": 4})
    place = found["letters"][0]["place"]
    assert world.rheostat("deadletter", "replay", place) == (0, {"sent": 0, "sent_before": 1})
    world.take_in(9, max_past_ms=24 * HOUR_MS)
    assert world.ledger() == Counter(each["event_id"] for each in old)

    code, complaint = world.rheostat("deadletter", "list", "--where", "colour=red")
    assert (code, "FIELD one of field, error" in complaint) == (1, True)
    code, complaint = world.rheostat("deadletter", "show", "feedback.deadletter/0/999")
    assert (code, "there is no dead letter" in complaint) == (1, True)


def test_held_events_are_found_shown_released_and_rejected_once(kafka: str) -> None:
    world = Installation(kafka)
    now_ms = WallClock().now_ms()
    calm = [
        event(f"calm-{i}", subject_id=f"u{i % 50}", target_id=f"t{i % 997}", occurred_at=now_ms - 90_000 + 30 * i)
        for i in range(3_000)
    ]
    brigade = [
        event(f"b{i}", subject_id=f"new-{i}", target_id="victim", prediction_id="p", value=0.0, occurred_at=now_ms + i)
        for i in range(100)
    ]
    publish_events(world.broker, catalogue.FEEDBACK_EXPLICIT, PARTITIONS, [*calm, *brigade])
    world.take_in(3_100)

    code, found = world.rheostat("quarantine", "list", "--target", "victim")
    held = [each["event_id"] for each in found["events"]]
    assert code == 0
    assert len(held) > 50
    code, shown = world.rheostat("quarantine", "show", held[0])
    assert (shown["event_id"], shown["decision"]) == (held[0], None)
    assert "burst: " in shown["reasons"]
    assert world.rheostat("quarantine", "reject", "--event", held[0]) == (0, {"decided": 1, "decided_before": 0})
    many = len(held) - 1
    release = ("quarantine", "release", "--target", "victim", "--reason", "a launch")
    assert world.rheostat(*release) == (0, {"decided": many, "decided_before": 1})
    assert world.rheostat(*release) == (0, {"decided": 0, "decided_before": many + 1})
    world.take_in(3_100 + many)
    ledger = world.ledger()
    assert [ledger[each] for each in held] == [0, *[1] * many]
    assert world.rheostat("quarantine", "show", held[0])[1]["decision"] == "reject"

    code, complaint = world.rheostat("quarantine", "release")
    assert (code, "name what is meant" in complaint) == (1, True)
