"""A real Kafka (KRaft, one node) on this machine, from the jars that deploy/kafka/pom.xml names.

Needs Java 17 or later; Maven only the first time, to fetch the jars into a cache. `python -m
rheostat.streams.local.kafka` runs one in the foreground until Ctrl-C and prints its address.
"""

from __future__ import annotations

import argparse
import base64
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rheostat.streams.errors import ConfigError
from rheostat.streams.local.maven import fetch, find_deploy_folder, find_java
from rheostat.streams.local.process import free_ports, stop, wait_for_port

START_TIMEOUT_S = 120.0
_HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_FAST_START = ("-XX:TieredStopAtLevel=1",)
"""The quick compiler alone: the thorough one takes a quarter of a core for the first minutes."""


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """A running node: its address, process and folder (data and log)."""

    bootstrap: str
    pid: int
    folder: Path


def write_config(folder: Path, deploy: Path, port: int, controller_port: int) -> Path:
    """Write server.properties: the committed settings plus ports and folders."""
    settings = (
        f"listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n"
        f"advertised.listeners=BROKER://127.0.0.1:{port}\n"
        f"controller.quorum.voters=1@127.0.0.1:{controller_port}\n"
        f"log.dirs={folder / 'data'}\n"
    )
    config = folder / "server.properties"
    config.write_text((deploy / "server.properties").read_text() + "\n" + settings)
    return config


def format_storage(java: Sequence[str], config: Path) -> None:
    """Prepare the log folder of a new node."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"Kafka's storage could not be prepared:\n{(done.stdout + done.stderr)[-2000:]}")


@contextmanager
def local_kafka(
    *,
    deploy: Path | None = None,
    cache: Path | None = None,
    jars: Path | None = None,
    port: int = 0,
    fast_start: bool = True,
) -> Iterator[LocalKafka]:
    """Run a node for the length of a `with` block: free ports (or `port`), a folder of its own, deleted at the end.

    Without `fast_start` its code is compiled thoroughly, which pays after some minutes, or for large batches.
    """
    deploy = deploy or find_deploy_folder("kafka")
    jars = jars or fetch(deploy, "copy-dependencies", cache)
    java = [find_java(), *_HEAP, *(_FAST_START if fast_start else ()), "-cp", f"{jars}/*"]
    free, controller_port = free_ports(2)
    port = port or free
    with tempfile.TemporaryDirectory(prefix="rheostat-kafka-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config = write_config(folder, deploy, port, controller_port)
        format_storage(java, config)
        log = folder / "kafka.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*java, "kafka.Kafka", str(config)],
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to this process, which ends the node in order.
                start_new_session=True,
            )
        try:
            wait_for_port(process, port, log, START_TIMEOUT_S)
            yield LocalKafka(f"127.0.0.1:{port}", process.pid, folder)
        finally:
            stop(process)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one node until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m rheostat.streams.local.kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="port to listen on (0: any free one)")
    parser.add_argument("--deploy", type=Path, help="folder with pom.xml and server.properties")
    parser.add_argument("--cache", type=Path, help="folder for the fetched jars (default ~/.cache/rheostat)")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    try:
        with local_kafka(deploy=options.deploy, cache=options.cache, port=options.port, fast_start=False) as node:
            print(node.bootstrap, flush=True)
            ended.wait()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
