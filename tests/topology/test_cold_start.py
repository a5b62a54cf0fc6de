"""A server that starts reads little of the topic, and has what one that read all of it has."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.stage import Log
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.version import Version
from rheostat.streams.serving.cold_start import Wanted, start_offsets
from rheostat.streams.serving.follower import FollowerSettings
from tests.support.lossy_channel import mistakes
from tests.support.model_topic import LEARNER, Publisher
from tests.support.serving import MONITOR, ServingWorld

KEYS = KeyRing.of(LEARNER, MONITOR)
MODELS = TopicPartition(catalogue.MODELS, 0)
PERIOD = 10
STEP = 8
T0_MS = 1_760_000_000_000


class CountingLog:
    """A log that counts what is read of `models`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.records = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def read(self, topic: str, partition: int, **bounds: int | None) -> Iterator[Block]:
        for block in self._log.read(topic, partition, **bounds):
            self.records += len(block) if topic == catalogue.MODELS else 0
            yield block


def published(world: ServingWorld, publishers: list[Publisher], versions: int, chunk_bytes_max: int = 900_000) -> None:
    """Write versions of each model, in turn, one a second, with a base every PERIOD versions."""
    for number in range(versions):
        for publisher in publishers:
            publisher.chunk_bytes_max = chunk_bytes_max
            publisher.nudge(number)
            first = publisher.version is None
            sequence = -1 if publisher.version is None else publisher.version.sequence
            base = first or (sequence + 1) % PERIOD == 0
            world.write(*publisher.publish(base=base, at_ms=T0_MS + 1_000 * number, probes=()).records)


def found(world: ServingWorld, wanted: list[Wanted]) -> tuple[int, int]:
    """Where to begin, and how many records were read to find it."""
    log = CountingLog(world.broker.log())
    return start_offsets(log, KEYS, wanted, STEP).get(MODELS, 0), log.records  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk_bytes_max", [900_000, 150])
def test_what_is_read_does_not_grow_with_the_topic(chunk_bytes_max: int) -> None:
    seen = []
    for periods in (5, 20, 80):
        world = ServingWorld()
        published(world, [Publisher()], periods * PERIOD + 4, chunk_bytes_max)
        _, end = world.broker.log().bounds(catalogue.MODELS, 0)
        start, records = found(world, [Wanted("phishing", history_ms=0)])
        assert world.broker.log().bounds(catalogue.MODELS, 0)[0] < start < end
        seen.append((end - start, records))
    assert seen[1:] == seen[:-1], "the newest base and what follows it; and as much to find it"
    assert seen[0][1] <= 4 * max(seen[0][0], STEP)


@pytest.mark.parametrize("seed", range(6))
def test_it_begins_at_a_base_of_every_model_as_old_as_is_wanted(seed: int) -> None:
    random, world = Random(seed), ServingWorld()
    publishers = [Publisher(model=name) for name in ("phishing", "spam")]
    published(world, publishers[:1], random.randint(1, 40))
    published(world, publishers[1:], random.randint(1, 40))
    published(world, publishers, random.randint(30, 60))
    history_ms, pin = 1_000 * random.randint(0, 25), Version(1, random.randint(20, 30))
    wanted = [Wanted("phishing", frozenset({pin}), history_ms), Wanted("spam", frozenset(), history_ms)]
    start, _ = found(world, wanted)
    everything = world.restart()
    world.settle()
    late = ServingWorld(FollowerSettings("late", ("phishing", "spam")))
    log = world.broker.log()
    for block in log.read(catalogue.MODELS, 0, start_offset=start):
        late.write(*zip(block.keys, block.values, strict=True))
    late.settle()
    for publisher in publishers:
        version = late.follower.current(publisher.model)
        assert version is not None
        assert publisher.digests[version.digest] == version.version == publisher.version
        lineage = late.follower.lineage(publisher.model)
        assert lineage is not None
        oldest = next(iter(lineage.kept)).manifest.facts.published_at_ms
        newest = max(each.manifest.facts.published_at_ms for each in lineage.kept if each.manifest.kind == "base")
        assert oldest <= newest - history_ms or start == 0
    pinned = late.follower.lineage("phishing")
    assert pinned is not None
    assert pinned.kept.get(pin) is not None
    assert everything.current("phishing") is not None


def test_models_that_are_held_or_owe_an_epoch_are_read_from_the_beginning() -> None:
    world = ServingWorld()
    published(world, [Publisher()], 60)
    wanted = [Wanted("phishing", history_ms=0)]
    assert found(world, wanted)[0] > 0
    world.command("pin", target=Version(1, 5), issuer="ana")
    assert found(world, wanted)[0] == 0
    world.command("resume", issuer="monitor", command_id="c-2")
    assert found(world, wanted)[0] == 0, "it is not the monitor's to let go"
    world.command("resume", issuer="ana", command_id="c-3")
    assert found(world, wanted)[0] > 0
    world.command("rollback", epoch=2, target=Version(1, 30), command_id="c-4")
    assert found(world, wanted)[0] == 0
    author = Publisher(version=Version(1, 60))
    world.write(*author.publish(base=True, epoch=2, at_ms=T0_MS + 100_000, probes=()).records)
    published(world, [author], 15)
    assert found(world, wanted)[0] > 0


def test_a_newest_base_that_cannot_be_used_is_made_up_for_by_reading_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rheostat.streams.serving.follower.start_offsets", _begin_at_the_last)
    world = ServingWorld()
    publisher = Publisher()
    published(world, [publisher], 25)
    world.write(mistakes()[-1])
    world.restart()
    world.settle()
    version = world.follower.current("phishing")
    assert version is not None
    assert version.version == publisher.version


def _begin_at_the_last(log: Log, *_: object) -> dict[TopicPartition, int]:
    return {MODELS: log.bounds(catalogue.MODELS, 0)[1] - 1}
