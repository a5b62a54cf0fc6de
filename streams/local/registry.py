"""A real schema registry (Apicurio, in memory) on this machine, from what deploy/registry/pom.xml names.

Needs Java 17 or later; Maven only the first time, to fetch it into a cache. `python -m rheostat.streams.local.registry`
runs one in the foreground until Ctrl-C and prints its address.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rheostat.streams.errors import ConfigError
from rheostat.streams.local.maven import fetch, find_deploy_folder, find_java
from rheostat.streams.local.process import free_ports, stop, wait_for_port

START_TIMEOUT_S = 120.0
_JAVA_OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_API = "/apis/ccompat/v7"
"""Where Apicurio speaks Confluent's API."""


@contextmanager
def local_registry(*, deploy: Path | None = None, cache: Path | None = None, port: int = 0) -> Iterator[str]:
    """Run a registry for the length of a `with` block and yield its address; it forgets everything at the end."""
    unpacked = fetch(deploy or find_deploy_folder("registry"), "unpack-dependencies", cache)
    runners = sorted(unpacked.glob("*-runner.jar"))
    if not runners:
        raise ConfigError(f"no runner jar in {unpacked}: delete the folder, so that it is fetched again")
    port = port or free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="rheostat-registry-", ignore_cleanup_errors=True) as name:
        log = Path(name) / "registry.log"
        address = ("-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [find_java(), *_JAVA_OPTIONS, *address, "-jar", str(runners[0])],
                cwd=name,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to this process, which ends the registry in order.
                start_new_session=True,
            )
        try:
            wait_for_port(process, port, log, START_TIMEOUT_S)
            yield f"http://127.0.0.1:{port}{_API}"
        finally:
            stop(process)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a registry until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m rheostat.streams.local.registry", description=__doc__)
    parser.add_argument("--port", type=int, default=8081, help="port to listen on (0: any free one)")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    try:
        with local_registry(port=options.port) as url:
            print(url, flush=True)
            ended.wait()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
