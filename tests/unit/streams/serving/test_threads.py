"""Readers take no lock, and what they are given belongs together all the same."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from rheostat.learners.features import batch_from_columns
from rheostat.learners.predictors import predictor
from rheostat.streams.models.version import Version
from tests.support.model_topic import SCHEMA, Publisher
from tests.support.serving import ServingWorld

FEATURES: dict[str, float | str | None] = {"url_length": 2, "age_days": 3.5, "tld": "com"}
READERS = 2
VERSIONS = 100


def test_readers_in_threads_never_see_a_torn_swap_nor_a_version_that_is_older_than_the_last() -> None:
    world, publisher = ServingWorld(), Publisher()
    world.publish(publisher.publish(base=True))
    expected: dict[Version | None, float] = {}
    seen: list[list[tuple[Version, float]]] = [[] for _ in range(READERS)]
    over = threading.Event()

    def read(into: list[tuple[Version, float]]) -> None:
        while not over.is_set():
            scorer = world.follower.scorer("phishing")
            assert scorer is not None
            into.append((scorer.version.version, scorer.score(FEATURES)))

    def expect() -> None:
        learned = predictor("linear/1", SCHEMA, publisher.tensors)
        expected[publisher.version] = learned.predict(batch_from_columns(SCHEMA, [[2, 3.5]], [["com"]]))[0]

    expect()
    readers = [threading.Thread(target=read, args=(each,)) for each in seen]
    for reader in readers:
        reader.start()
    for step in range(VERSIONS):
        publisher.nudge(step)
        world.publish(publisher.publish(base=step % 20 == 0))
        expect()
    over.set()
    for reader in readers:
        reader.join()
    for found in seen:
        versions = [version for version, _ in found]
        assert versions == sorted(versions)
        scores = np.array([score for _, score in found])
        assert scores == pytest.approx(np.array([expected[version] for version in versions]), abs=1e-12)
    assert len({version for found in seen for version, _ in found}) > 1
    assert len(set(expected.values())) > VERSIONS / 4
