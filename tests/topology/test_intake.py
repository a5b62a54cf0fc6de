"""Intake in its loop on the in-memory broker: crashes and restarts anywhere change nothing that was written."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, Corrupt
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeStage, IntakeTask
from tests.support.feedback import KEY, NOW_MS, OUTPUTS, create_topics, event, key_of, publish_events

PARTITIONS = 2
WINDOW_MS = 1_000
SMALL = BurstSettings(targets_max=1 << 8, actors_max=1 << 10)
KINDS = {
    catalogue.FEEDBACK_EXPLICIT: "thumb",
    catalogue.FEEDBACK_IMPLICIT: "click",
    catalogue.FEEDBACK_OUTCOME: "conversion",
}

events = st.builds(
    lambda topic, number, at, value, consent: (
        topic,
        event(
            f"e{number}",
            prediction_id=f"p{number}",
            kind=KINDS[topic],
            value=value,
            consent=consent,
            occurred_at=NOW_MS + at,
            target_id=f"t{number % 3}",
            subject_id=f"s{number}",
        ),
    ),
    st.sampled_from(catalogue.FEEDBACK),
    st.integers(0, 25),
    st.integers(-3 * WINDOW_MS, 3 * WINDOW_MS),
    st.sampled_from([0.0, 1.0, 1.0, 7.0]),
    st.sampled_from([True, True, True, False]),
)
faults = st.sampled_from([None, None, "restart", "crash", "abort"])
histories = st.lists(st.tuples(st.lists(events, max_size=12), faults), max_size=8)


class World:
    """One worker of intake."""

    def __init__(self, dedup_window_ms: int = WINDOW_MS, **given: Any) -> None:
        self.clock = ManualClock(NOW_MS)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, PARTITIONS)
        self.settings = IntakeSettings(KEY, dedup_window_ms=dedup_window_ms, bursts=SMALL, **given)
        self.start()

    def start(self) -> None:
        limits = LoopLimits(records_max=10_000, poll_timeout_ms=0, interval_ms=0)
        self.loop = StageLoop(IntakeStage(self.settings), self.broker, slot="0", clock=self.clock, limits=limits)

    def send(self, sent: list[tuple[str, dict[str, Any]]]) -> None:
        for topic, record in sent:
            publish_events(self.broker, topic, PARTITIONS, [record])

    def drain(self) -> None:
        for _ in range(6):
            self.loop.step()

    def suffer(self, fault: str | None) -> None:
        if fault == "restart":
            self.loop.close()
            self.start()
        elif fault == "crash":
            self.broker.expire(self.loop._consumer)
            self.start()
        elif fault == "abort":
            self.broker.fail_next("commit", Abortable("injected"))

    def written(self) -> dict[tuple[str, int], list[tuple[bytes | None, bytes | None, int]]]:
        log = self.broker.log()
        return {
            (topic, number): [
                row
                for block in log.read(topic, number)
                for row in zip(block.keys, block.values, block.timestamps_ms, strict=True)
            ]
            for topic in OUTPUTS
            for number in range(PARTITIONS)
        }

    def counts(self) -> dict[int, Counts]:
        return {number: task.counts for number, task in self.loop.tasks.items() if isinstance(task, IntakeTask)}


@settings(max_examples=40, deadline=None)
@given(histories)
def test_faults_change_nothing_and_every_event_is_accounted_for(
    history: list[tuple[list[tuple[str, dict[str, Any]]], str | None]],
) -> None:
    troubled, calm = World(), World()
    for sent, fault in history:
        troubled.suffer(fault)
        for world in (troubled, calm):
            world.send(sent)
            world.drain()
    assert troubled.written() == calm.written()
    assert troubled.counts() == calm.counts()
    check_conservation(calm, [each for sent, _ in history for each in sent])


@settings(max_examples=25, deadline=None)
@given(histories)
def test_events_put_elsewhere_end_where_they_belong_each_once_whatever_happens(
    history: list[tuple[list[tuple[str, dict[str, Any]]], str | None]],
) -> None:
    world = World(dedup_window_ms=100 * WINDOW_MS)
    sent = [each for events, _ in history for each in events]
    for events, fault in history:
        world.suffer(fault)
        for place, (topic, record) in enumerate(events):
            publish_events(world.broker, topic, PARTITIONS, [record], shift=place % 2)
        world.drain()
    found = [
        (decode_record(topic, value or b"")["event_id"], number)
        for (topic, number), rows in world.written().items()
        if topic == catalogue.LEDGER
        for _, value, _ in rows
    ]
    usable = [record for _, record in sent if record["consent"] and record["value"] <= 1.0]
    assert sorted(found) == sorted({(each["event_id"], partition_for(key_of(each), PARTITIONS)) for each in usable})
    totals: Counter[str] = Counter()
    for counts in world.counts().values():
        assert counts.imbalance == 0
        totals.update(counts.as_json())
    assert totals["consumed"] - totals["forwarded"] == len(sent)


def check_conservation(world: World, sent: list[tuple[str, dict[str, Any]]]) -> None:
    totals: Counter[str] = Counter()
    for counts in world.counts().values():
        assert counts.imbalance == 0
        totals.update(counts.as_json())
    rows = Counter(topic for (topic, _), written in world.written().items() for _ in written)
    assert totals["consumed"] - totals["forwarded"] == len(sent)
    assert totals["accepted"] == rows[catalogue.LEDGER]
    assert totals["quarantined"] == rows[catalogue.QUARANTINE]
    assert totals["invalid"] == rows[catalogue.DEADLETTER]
    assert totals["withheld"] == sum(not record["consent"] for _, record in sent)
    assert totals["forwarded"] == 0


def test_the_state_is_rebuilt_from_the_tail_alone() -> None:
    world = World()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event(f"e{i}", occurred_at=NOW_MS + 100 * i)) for i in range(40)])
    world.drain()
    world.loop.close()
    for number in range(PARTITIONS):
        entries = [
            decode_record(catalogue.LEDGER, value or b"") for _, value, _ in world.written()[catalogue.LEDGER, number]
        ]
        newest = max(entry["occurred_at"] for entry in entries)
        keep = [entry["occurred_at"] >= newest - WINDOW_MS for entry in entries].index(True)
        world.broker.delete_before(catalogue.LEDGER, number, keep)
    world.start()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event(f"e{i}", occurred_at=NOW_MS + 100 * i)) for i in range(36, 40)])
    world.drain()
    assert sum(each.duplicate for each in world.counts().values()) == 4
    assert sum(each.accepted for each in world.counts().values()) == 40


def test_a_ledger_that_lost_its_end_is_refused() -> None:
    world = World()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event(f"e{i}")) for i in range(10)])
    world.drain()
    world.loop.close()
    for number in range(PARTITIONS):
        world.broker.delete_before(catalogue.LEDGER, number, 1_000)
    world.start()
    with pytest.raises(Corrupt, match="duplicates would not be found"):
        world.drain()


def test_a_ledger_that_expired_while_nothing_came_is_no_fault() -> None:
    world = World()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event(f"e{i}")) for i in range(10)])
    world.drain()
    world.loop.close()
    for number in range(PARTITIONS):
        world.broker.delete_before(catalogue.LEDGER, number, 1_000)
    later = world.clock.advance(catalogue.TOPICS[catalogue.LEDGER].retention_ms + 1)
    world.start()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event("new", occurred_at=later))])
    world.drain()
    assert sum(each.accepted for each in world.counts().values()) == 11


def test_a_brigade_stays_caught_over_a_restart_and_its_retries_are_duplicates() -> None:
    world = World()
    past = [
        (
            catalogue.FEEDBACK_EXPLICIT,
            event(f"calm-{i}", subject_id=f"u{i % 20}", target_id=f"t{i % 97}", occurred_at=NOW_MS - 60_000 + 10 * i),
        )
        for i in range(6_000)
    ]
    world.settings = IntakeSettings(KEY)
    world.loop.close()
    world.start()
    world.send(past)
    world.drain()
    attack = [
        (
            catalogue.FEEDBACK_EXPLICIT,
            event(f"bad-{i}", subject_id=f"new-{i}", target_id="victim", value=0.0, occurred_at=NOW_MS + 5 * i),
        )
        for i in range(240)
    ]
    world.send(attack[:120])
    world.drain()
    held = sum(each.quarantined for each in world.counts().values())
    assert held > 60
    world.suffer("crash")
    world.send(attack)
    world.drain()
    counts = world.counts().values()
    assert sum(each.duplicate for each in counts) == 120
    assert sum(each.quarantined for each in counts) == held + 120


def test_the_commit_carries_watermarks_and_counts() -> None:
    world = World()
    world.send([(catalogue.FEEDBACK_EXPLICIT, event(f"e{i}", occurred_at=NOW_MS + i)) for i in range(20)])
    world.drain()
    source = TopicPartition(catalogue.FEEDBACK_EXPLICIT, 0)
    facts = json.loads(world.loop._consumer.committed([source])[source].metadata)
    assert facts["counts"]["accepted"] == facts["counts"]["consumed"] > 0
    assert NOW_MS <= facts["watermark_ms"] < NOW_MS + 20
    assert facts["held_watermark_ms"] is None
