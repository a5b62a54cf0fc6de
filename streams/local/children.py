"""Child processes of the demo and the benchmarks: started with a log file each, watched, and ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

STOP_SECONDS_MAX = 10.0


class ChildFailed(Exception):
    """A child ended by itself; the text names it and shows the end of its log."""


@dataclass(slots=True)
class Child:
    """One running process of ours."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self, count: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


@dataclass(slots=True)
class Children:
    """A set of processes that end together; use as a context manager."""

    folder: Path
    running: list[Child] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        """Start `rheostat ARGUMENTS` with this interpreter; its output goes to FOLDER/NAME.log."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "rheostat.streams.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    def check(self) -> None:
        """Raise ChildFailed when one of them has ended."""
        for child in self.running:
            code = child.process.poll()
            if code is not None:
                raise ChildFailed(f"{child.name} ended with exit code {code}:\n{child.last_lines()}")

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a condition, watching the children meanwhile. Raises TimeoutError naming what was waited for."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s; logs are in {self.folder}")
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """End a child at once, as a crash would, and forget it."""
        child = next(each for each in self.running if each.name == name)
        child.process.kill()
        child.process.wait()
        self.running.remove(child)

    def stop(self) -> None:
        """Ask all of them to end, and end those that do not."""
        for child in self.running:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for child in self.running:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self.running.clear()

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
