"""A base too large for one transaction: its parts lie between the deltas, and whoever begins anywhere ends up whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from rheostat.learners.contract import Learner
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.clock import ManualClock
from rheostat.streams.learn.reproduce import lineage_of
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.manifest import Manifest, decode_manifest
from rheostat.streams.models.topic import rebuild_version, records_of, signed_bases
from rheostat.streams.models.verify import verify
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower
from tests.support.examples import SCHEMA, send_examples
from tests.support.learn_world import KEYS, World
from tests.support.serving import Record, memory_broker

CHUNK_BYTES, PART_BYTES = 300, 600


def table() -> Learner:
    return HashedMLP(SCHEMA, DeepSettings(table_bits=9, dim=4, hidden=4, batch_rows=4))


def a_world() -> World:
    return World(new_learner=table, chunk_bytes_max=CHUNK_BYTES, base_part_bytes_max=PART_BYTES)


def learned(world: World, steps: int, start: int = 0) -> None:
    """Learn a few examples in each of these steps."""
    for number in range(start, start + steps):
        send_examples(world.producer, range(4 * number, 4 * number + 4))
        world.run(1)


def records(world: World) -> list[Record]:
    blocks = world.broker.log().read(catalogue.MODELS, 0)
    return [each for block in blocks for each in zip(block.keys, block.values, strict=True)]


@dataclass
class Server:
    """A follower of some records, and the versions it took into use."""

    follower: ModelFollower
    registry: CollectorRegistry
    versions: list[Version]

    def refused(self) -> dict[str, float]:
        name = "rheostat_follower_refused_updates_total"
        samples = [each for metric in self.registry.collect() for each in metric.samples if each.name == name]
        return {each.labels["reason"]: each.value for each in samples if each.value}


def a_server(given: Sequence[Record]) -> Server:
    clock, versions, registry = ManualClock(), list[Version](), CollectorRegistry()
    broker = memory_broker(clock)
    producer = broker.producer()
    settings = FollowerSettings("server", ("toy",), poll_records_max=7, warm_up_rows=0)
    follower = ModelFollower(
        broker, settings, KEYS, clock, Metrics(registry), on_swap=[lambda version, _: versions.append(version.version)]
    )
    for key, value in given:
        producer.send(catalogue.MODELS, key, value, timestamp_ms=clock.now_ms(), partition=0)
    while follower.step(0):
        pass
    return Server(follower, registry, versions)


def check_newest(server: Server, world: World) -> None:
    version = server.follower.current("toy")
    assert version is not None
    assert version.version == world.task().progress.version
    assert version.digest == tensors_digest(version.tensors) == tensors_digest(world.task().learner.parameters())


def the_world() -> World:
    world = a_world()
    world.run(2)
    learned(world, 40)
    return world


def bases(world: World) -> list[tuple[int, int]]:
    """Where in `records` to begin for each complete base in parts, and where it ends."""
    log, keys = world.broker.log(), [key for key, _ in records(world)]
    offsets = [offset for block in log.read(catalogue.MODELS, 0) for offset in block.offsets]
    found = [each for each in signed_bases(records_of(log, "toy"), KEYS) if each.manifest.version.sequence]
    return [
        (offsets.index(each.place.offset), keys.index(each.manifest.key(each.manifest.chunks - 1)) + 1)
        for each in found
    ]


def test_the_learner_goes_on_while_a_base_is_told() -> None:
    world = the_world()
    assert len(bases(world)) >= 2
    first, end = bases(world)[0]
    between = [key for key, _ in records(world)[first:end] if key is not None and b"|delta|" in key]
    assert len(between) >= 5
    server = a_server(records(world))
    check_newest(server, world)
    last = world.task().progress.version
    assert last is not None
    assert server.versions == [Version(0, number) for number in range(last.sequence + 1)], "each, at its time"
    assert server.refused() == {}


def test_whoever_begins_before_the_newest_complete_base_has_the_newest_version() -> None:
    world = the_world()
    everything, (newest, _) = records(world), bases(world)[-1]
    for start in (*range(0, newest, 11), newest):
        check_newest(a_server(everything[start:]), world)


def test_whoever_began_in_the_middle_of_a_base_waits_for_the_next_and_never_has_half_of_one() -> None:
    world = the_world()
    everything, ((_, end), *_) = records(world), bases(world)
    keys = [key for key, _ in everything]
    begun = next(place for place, key in enumerate(keys) if key is not None and b"|base|0.8|0" in key)
    for stop in (end, end + 3):
        assert a_server(everything[begun + 1 : stop]).follower.current("toy") is None
    check_newest(a_server(everything[begun + 1 :]), world)


@pytest.mark.parametrize("kill_after", [1, 4, 9])
def test_a_learner_killed_in_the_middle_of_a_base_tells_another(kill_after: int) -> None:
    world = a_world()
    world.run(2)
    learned(world, 8 + kill_after)
    assert not bases(world), "it is killed in the middle"
    world.start()
    learned(world, 30, start=100)
    (first, _), *_ = bases(world)
    check_newest(a_server(records(world)), world)
    check_newest(a_server(records(world)[1:]), world)
    check_newest(a_server(records(world)[first:]), world)


def test_what_is_left_of_a_base_is_told_when_nothing_is_learned_any_more() -> None:
    world = a_world()
    world.run(2)
    learned(world, 9)
    assert not bases(world)
    world.run(100)
    assert len(bases(world)) == 1


def test_each_version_says_once_what_it_was_learned_from() -> None:
    world = the_world()
    manifests: list[Manifest] = []
    for _, value in records(world):
        record = codec.decode_record(catalogue.MODELS, value)
        if record["chunk"] == 0:
            manifests.append(decode_manifest(record["manifest"]))
    last = manifests[-1].version
    told = sum(run.count for each in manifests for run in each.facts.training)
    assert told == sum(run.count for each in lineage_of(manifests, "toy", last) for run in each.facts.training)


def test_the_topic_is_whole_to_whoever_verifies_it() -> None:
    world = the_world()
    log = world.broker.log()
    for whole in (True, False):
        found = verify(log, KEYS, "toy", whole=whole)
        assert found.faults == []
        assert found.newest == world.task().progress.version
    for version in (Version(0, 3), Version(0, 9), Version(0, 30)):
        assert rebuild_version(log, KEYS, "toy", version).manifest.version == version
