"""Fixtures for all tests: a real Kafka, started once, and brokers that share it without meeting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rheostat.streams.engine.kafka import KafkaBroker
from tests.support.brokers import kafka_broker
from tests.support.kafka_server import kafka_server
from tests.support.registry_server import registry_server


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of a real Kafka; RHEOSTAT_TEST_BOOTSTRAP names one that runs already."""
    with kafka_server(os.environ.get("RHEOSTAT_TEST_BOOTSTRAP")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """Address of a real schema registry; RHEOSTAT_TEST_REGISTRY names one that runs already."""
    with registry_server(os.environ.get("RHEOSTAT_TEST_REGISTRY")) as url:
        yield url


@pytest.fixture
def make_kafka_broker(kafka: str) -> Callable[[], KafkaBroker]:
    """Make brokers on the real Kafka, each with a prefix of its own."""
    return lambda: kafka_broker(kafka)
