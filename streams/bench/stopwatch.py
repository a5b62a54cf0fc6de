"""A stage drains a backlog, and how long that takes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

from rheostat.streams.engine.loop import NoObserver, StageLoop

_STALL_S = 60.0


class Stopwatch(NoObserver):
    """Measures from the beginning of a loop's first transaction with records to the end of the last."""

    def __init__(self, records: int, progress: Callable[[float], None] = lambda done: None) -> None:
        self.consumed = 0
        self.transactions = 0
        self._records = records
        self._progress = progress
        self._began = 0.0
        self._ended = 0.0

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return self._ended - self._began

    def drain(self, loop: StageLoop) -> None:
        """Step until all records were consumed. Raises RuntimeError when nothing comes any more."""
        moved = time.perf_counter()
        while self.consumed < self._records:
            if loop.step():
                moved = time.perf_counter()
                self._progress(self.consumed / self._records)
            elif time.perf_counter() - moved > _STALL_S:
                raise RuntimeError(f"{loop.stage.name} stopped after {self.consumed} of {self._records} records")

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Note the time."""
        if not records_in:
            return
        self._ended = time.perf_counter()
        if not self.transactions:
            self._began = self._ended - seconds
        self.transactions += 1
        self.consumed += sum(records_in.values())


def cpu_seconds() -> float:
    """Return the processor time of this process so far, all its threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
