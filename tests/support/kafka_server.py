"""A real Kafka for the tests: one that is named, one in Docker, or one on this machine."""

from __future__ import annotations

import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.errors import ConfigError
from rheostat.streams.local.kafka import local_kafka
from rheostat.streams.local.process import free_ports

IMAGE = "apache/kafka:4.1.0"
_SETTINGS = Path(__file__).parents[2] / "deploy/kafka/server.properties"
_START_TIMEOUT_S = 90.0


@contextmanager
def kafka_server(named: str | None) -> Iterator[str]:
    """Yield a bootstrap address: `named` if given, else a Docker container, else a local node by Java and Maven."""
    if named:
        KafkaBroker(named).check()
        yield named
    elif docker_answers():
        with docker_kafka() as bootstrap:
            yield bootstrap
    else:
        try:
            with local_kafka() as node:
                yield node.bootstrap
        except ConfigError as error:
            raise RuntimeError(
                f"no Kafka for the tests. Either set RHEOSTAT_TEST_BOOTSTRAP=HOST:PORT, or start Docker, or install "
                f"Java 17 and Maven. The local node said: {error}"
            ) from error


def docker_answers() -> bool:
    """Whether a Docker daemon is there."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def docker_kafka() -> Iterator[str]:
    """Run the official image with the settings of deploy/kafka on a free port."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from testcontainers.core.container import DockerContainer

        (port,) = free_ports(1)
        container = DockerContainer(IMAGE).with_bind_ports(9092, port)
        for name, value in _container_settings(port).items():
            container = container.with_env(name, value)
        with container:
            _await_answer(f"127.0.0.1:{port}")
            yield f"127.0.0.1:{port}"


def _container_settings(port: int) -> dict[str, str]:
    """Return server.properties as the image wants it: in KAFKA_* variables."""
    lines = [line.split("=", 1) for line in _SETTINGS.read_text().splitlines() if line and not line.startswith("#")]
    settings = {f"KAFKA_{name.strip().upper().replace('.', '_')}": value.strip() for name, value in lines}
    return settings | {
        "KAFKA_LISTENERS": "BROKER://0.0.0.0:9092,CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"BROKER://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    }


def _await_answer(bootstrap: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            return KafkaBroker(bootstrap).check()
        except ConfigError:
            if time.monotonic() > deadline:
                raise
