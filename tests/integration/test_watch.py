"""The watch on a real Kafka: killed in the middle and begun again, it says what it would have said."""

from __future__ import annotations

from collections.abc import Callable

from rheostat.schemas import catalogue
from rheostat.streams.conservation import read_books
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.watch.stage import WatchStage
from tests.support.brokers import await_condition
from tests.support.slow_traffic import DAY_MS
from tests.support.watch_world import TINY, WatchWorld, attacked, verdicts_hold


def caught_up(world: WatchWorld, fed: int) -> bool:
    """Let both stages go on; whether they have dealt with everything that was sent and written."""
    world.run()
    written = sum(len(world.values(topic)) for topic in (catalogue.LEDGER, catalogue.QUARANTINE))
    return read_books(world.broker).events == fed and world.task.counts["seen"] + world.task.waiting == written


def test_a_burst_is_found_and_corrected_over_a_crash(make_kafka_broker: Callable[[], KafkaBroker]) -> None:
    bounds = WatchSettings(TINY, snapshot_ms=7 * DAY_MS, readings_max=10)
    world = WatchWorld(attacked(), bounds, make_kafka_broker())
    fed = 0
    for part in (900, 300, 300, 300):
        world.feed(part, step=100)
        fed = min(fed + part, len(world.events))
        await_condition(lambda fed=fed: caught_up(world, fed), f"{fed} events are dealt with")  # type: ignore[misc]
        # Nobody closes the old one: it is fenced, as after kill -9.
        dead, world.watch = world.watch, world._loop(WatchStage(bounds))
        verdicts_hold(world)
        dead.close()
    world.clock.advance(10_000)
    await_condition(lambda: caught_up(world, fed) and not world.task.waiting, "nothing waits")
    verdicts_hold(world)
    attack = {f"e{row}" for row in range(len(world.events))[-300:]}
    standing = world.standing()
    held = {entry["event_id"] for entry in world.records(catalogue.QUARANTINE)} - standing.keys()
    corrected = {each for each, keeps in standing.items() if keeps == 0.0}
    assert len((held | corrected) & attack) >= 0.95 * len(attack)
    assert corrected
    assert read_books(world.broker).balanced
