"""What the processors gave during a measurement: a virtual machine shares them, and figures suffer without a word."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _STOLEN = 3, 4, 7
_LOOP = 1_000_000


class Processors:
    """Watches from its making on; Linux only, elsewhere nothing is known."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _ticks()

    def summary(self) -> dict[str, float | None]:
        """Return how many processors were idle and how many were taken by other machines, on average, until now."""
        after, seconds = _ticks(), time.monotonic() - self._began
        if self._before is None or after is None or not seconds:
            return {"cpus_idle": None, "cpus_stolen": None}
        passed = [
            (new - old) / os.sysconf("SC_CLK_TCK") / seconds for old, new in zip(self._before, after, strict=True)
        ]
        return {"cpus_idle": round(passed[_IDLE] + passed[_IOWAIT], 2), "cpus_stolen": round(passed[_STOLEN], 2)}


def loop_ns() -> float:
    """Return how long one turn of a plain Python loop takes now, to compare machines and moments by."""
    began = time.perf_counter()
    total = 0
    for number in range(_LOOP):
        total += number
    return round((time.perf_counter() - began) / _LOOP * 1e9, 1)


def _ticks() -> list[int] | None:
    """Return the clock ticks that all processors together spent on each kind of work since the start."""
    try:
        return [int(word) for word in _STAT.read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError):
        return None
