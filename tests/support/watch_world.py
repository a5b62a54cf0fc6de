"""Intake and the watch on a broker in memory, fed with simulated traffic of weeks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.streams.clock import ManualClock
from rheostat.streams.conservation import read_books
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.stage import Stage
from rheostat.streams.intake.settings import IntakeSettings, SlowBurstSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.provision import create_topics
from rheostat.streams.watch.rows import read_rows
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.watch.stage import WatchStage
from rheostat.streams.watch.task import WatchTask
from tests.support.feedback import KEY, event, publish_events
from tests.support.slow_traffic import DAY_MS, HOUR_MS, T0_MS, Traffic, month

PARTITIONS = 2
TINY = SlowBurstSettings(targets_max=1 << 8, actors_max=1 << 12, pairs_max=1 << 8)
ONSET_MS = T0_MS + 10 * DAY_MS + 3 * HOUR_MS
_CAUSES = ("burst", "lockstep")


def attacked(seed: int = 3) -> Traffic:
    """Two weeks of four targets, and 300 newcomers who all say no to one of them within six hours."""
    traffic = month(seed, days=13, targets=4)
    traffic.burst("item-1", ONSET_MS, 6, 300, traffic.newcomers(300), 0.0)
    return traffic


def launched(seed: int = 3) -> Traffic:
    """The same, but after the first few it is the usual people, who say what they always say."""
    traffic = month(seed, days=13, targets=4)
    traffic.burst("item-1", ONSET_MS, 0.5, 40, traffic.newcomers(40), 0.0)
    traffic.burst("item-1", ONSET_MS + HOUR_MS // 2, 12, 1_500, traffic.regulars(1_500), 0.8)
    return traffic


class WatchWorld:
    """One worker each of intake and the watch."""

    def __init__(self, traffic: Traffic, settings: WatchSettings | None = None, broker: Broker | None = None) -> None:
        times = np.concatenate(traffic.times)
        self._order = np.argsort(times, kind="stable").tolist()
        self._times = times.tolist()
        self.events = [self._event(traffic, row) for row in range(len(self._times))]
        self._fed = 0
        self.settings = settings or WatchSettings(TINY)
        self.clock = ManualClock(self._times[self._order[0]])
        self.broker: Broker = broker or MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, PARTITIONS, 1)
        self.intake = self._loop(IntakeStage(IntakeSettings(KEY)))
        self.watch = self._loop(WatchStage(self.settings))

    def feed(self, count: int, *, after: Callable[[], None] = lambda: None, step: int = 50) -> None:
        """Let the next `count` events happen, some at a time."""
        for start in range(self._fed, min(self._fed + count, len(self._order)), step):
            rows = self._order[start : min(start + step, self._fed + count)]
            self.clock.advance(max(self._times[rows[-1]] - self.clock.now_ms(), 0))
            publish_events(self.broker, catalogue.FEEDBACK_EXPLICIT, PARTITIONS, [self.events[row] for row in rows])
            self.run()
            after()
        self._fed = min(self._fed + count, len(self._order))

    def feed_all(self, **given: Any) -> None:
        """Let all events happen, and wait until nothing waits any more."""
        self.feed(len(self._order), **given)
        self.settle()

    def events_to_come(self, count: int) -> list[dict[str, Any]]:
        """Return the next events, which have not happened."""
        return [self.events[row] for row in self._order[self._fed : self._fed + count]]

    def settle(self) -> None:
        """Let the time pass after which partitions are not waited for."""
        self.clock.advance(10_000)
        for _ in range(3):
            self.run()

    def run(self) -> None:
        """Let both stages do what there is to do."""
        for _ in range(2):
            self.intake.step()
            self.watch.step()

    def restart_intake(self) -> None:
        """End intake and begin it again."""
        self.intake.close()
        self.intake = self._loop(IntakeStage(IntakeSettings(KEY)))

    def restart_watch(self) -> None:
        """End the watch and begin it again."""
        self.watch.close()
        self.watch = self._loop(WatchStage(self.settings))

    @property
    def task(self) -> WatchTask:
        """The watch."""
        while not self.watch.tasks:
            self.watch.step()
        (task,) = self.watch.tasks.values()
        assert isinstance(task, WatchTask)
        return task

    def values(self, topic: str) -> list[bytes | None]:
        """Return what is in a topic, partition by partition."""
        log = self.broker.log()
        blocks = (block for number in range(log.partitions(topic)) for block in log.read(topic, number))
        return [value for block in blocks for value in block.values]

    def records(self, topic: str) -> list[dict[str, Any]]:
        """Return what is in a topic, decoded."""
        return [decode_record(topic, value) for value in self.values(topic)]

    def standing(self) -> dict[str, float]:
        """Return what each accepted event keeps of its weight, by event id, as the corrections say."""
        keeps: dict[str, dict[str, float]] = defaultdict(dict)
        for correction in self.records(catalogue.CORRECTIONS):
            if correction["cause"] in _CAUSES:
                keeps[correction["event_id"]][correction["cause"]] = correction["keeps"]
        return {
            entry["event_id"]: float(np.prod(list(keeps[entry["event_id"]].values())))
            for entry in self.records(catalogue.LEDGER)
        }

    def _loop(self, stage: Stage) -> StageLoop:
        limits = LoopLimits(records_max=100_000, poll_timeout_ms=0, interval_ms=0)
        return StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits)

    def _event(self, traffic: Traffic, row: int) -> dict[str, Any]:
        return event(
            f"e{row}",
            value=traffic.values[row],
            target_id=traffic.targets[row],
            subject_id=traffic.actors[row],
            occurred_at=self._times[row],
        )


def verdicts_hold(world: WatchWorld) -> None:
    """What every accepted event keeps is what the alarms as they stand say of it, but for what waits for its turn, and
    for what a person released, which keeps everything. No event is in the ledger twice, nor held and accepted but for
    the released ones.
    """
    log = world.broker.log()
    blocks = [block for p in range(PARTITIONS) for block in log.read(catalogue.LEDGER, p)]
    rows = read_rows(blocks)
    verdict = world.task.alarms.verdict(rows.events)
    keeps = np.ones(len(rows)) if verdict is None else verdict.keeps
    waiting = set(world.task._waiting.rows().batch.column("event_id").to_pylist())
    ids = rows.batch.column("event_id").to_pylist()
    standing = world.standing()
    expected = {
        each: 1.0 if readmitted or each in world.task._exempt else float(kept)
        for each, kept, readmitted in zip(ids, keeps, rows.readmitted, strict=True)
        if each not in waiting
    }
    assert {each: standing[each] for each in expected} == pytest.approx(expected)
    accepted = Counter(ids)
    held = Counter(entry["event_id"] for entry in world.records(catalogue.QUARANTINE))
    freed = {each for each, readmitted in zip(ids, rows.readmitted, strict=True) if readmitted}
    assert set(accepted.values()) <= {1}
    assert set(held.values()) <= {1}
    assert accepted.keys() & held.keys() == freed
    assert read_books(world.broker).balanced
