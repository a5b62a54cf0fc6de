"""Whatever becomes of a model's updates on their way, a server has a published version, and the next base heals it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rheostat.learners.digest import tensors_digest
from rheostat.streams.models.apply import ModelVersion
from tests.support.lossy_channel import FAULTS, PUBLICATIONS, Publication, disturbed, mistakes, publication
from tests.support.serving import Record, ServingWorld

RESTARTED = 0.02
HISTORIES = 10_000
ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from tests.topology.test_lossy_channel import first_failure
start, count = map(int, sys.argv[1:])
print(first_failure(range(start, start + count)))
"""


def check_history(published: Publication, arriving: list[Record], random: Random) -> ServingWorld:
    """Follow what arrives record by record, with restarts in between, then a base."""
    world, last = ServingWorld(), None
    for record in arriving:
        world.write(record)
        world.follower.step(0)
        last = check_served(world, published, last)
        if random.random() < RESTARTED:
            check_order(world)
            world.restart()
            world.settle()
            again = check_served(world, published, None)
            assert (again and again.version) == (last and last.version), "the same log, the same version"
            last = again
    check_order(world)
    world.write(*published.next_base)
    world.settle()
    version = world.follower.current("phishing")
    assert version is not None
    assert tensors_digest(version.tensors) == published.next_digest, "the next base heals"
    return world


def check_served(world: ServingWorld, published: Publication, last: ModelVersion | None) -> ModelVersion | None:
    """Compute the digest of what is served, where it is not what it was; return what is."""
    version = world.follower.current("phishing")
    if version is not None and version is not last:
        assert (tensors_digest(version.tensors), version.version) in published.published
    return version


def check_order(world: ServingWorld) -> None:
    versions = [version.version for version in world.swaps]
    assert versions == sorted(set(versions)), "a server never goes back by itself"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.integers(0, PUBLICATIONS - 1), st.randoms(use_true_random=False))
def test_only_published_versions_are_ever_served(seed: int, random: Random) -> None:
    published = publication(seed)
    check_history(published, disturbed(published.records, random), random)


def first_failure(seeds: range) -> str | None:
    for seed in seeds:
        random, published = Random(seed), publication(seed % PUBLICATIONS)
        try:
            check_history(published, disturbed(published.records, random), random)
        except AssertionError as error:
            return f"history {seed}: {error}"
    return None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_only_published_versions_are_ever_served_in_ten_thousand_histories() -> None:
    """Each history has a seed of its own, so that they can be shared out among processors."""
    share = HISTORIES // (os.cpu_count() or 1) + 1
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(start), str(share)], cwd=ROOT, stdout=subprocess.PIPE)
        for start in range(0, HISTORIES, share)
    ]
    assert [each.communicate()[0].decode().strip() for each in processes] == ["None"] * len(processes)


def test_what_a_broken_learner_signed_is_refused_for_what_is_wrong_with_it() -> None:
    world = ServingWorld()
    world.write(*mistakes()[:5])
    world.settle()
    assert world.follower.current("phishing") is None
    assert [world.refusals(check) for check in ("tensors", "digest", "finite")] == [3, 1, 1]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_is_noticed(fault: str) -> None:
    """A fault that never changes what a server refuses or takes would test nothing."""

    def outcome(records: list[Record]) -> tuple[int, float]:
        world = check_history(published, records, Random(1))
        refused = sum(
            sample.value
            for metric in world.registry.collect()
            for sample in metric.samples
            if sample.name == "rheostat_follower_refused_updates_total"
        )
        return len(world.swaps), refused

    published = publication(next(seed for seed in range(PUBLICATIONS) if len(publication(seed).records) > 8))
    random, seen = Random(0), set()
    for _ in range(40):
        records = list(published.records)
        FAULTS[fault](records, random.randrange(len(records)), random)
        seen.add(outcome(records))
    assert seen - {outcome(published.records)}
