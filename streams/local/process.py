"""Child processes that serve a port: find a port, wait until it answers, stop by pid."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from rheostat.streams.errors import ConfigError

_LOG_TAIL_CHARS = 2_000


def free_ports(count: int) -> list[int]:
    """Return TCP ports that are free on the loopback interface at this moment."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float) -> None:
    """Wait until a child accepts connections; raise ConfigError with the end of its log if it never does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConfigError(f"the server exited with code {process.returncode}:\n{_tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ConfigError(f"the server does not answer on port {port} after {timeout_s:.0f} s:\n{_tail(log)}")


def stop(process: subprocess.Popen[bytes], timeout_s: float = 10) -> None:
    """End a child: ask, then insist. Does nothing if it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL_CHARS:] if log.exists() else ""
