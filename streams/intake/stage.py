"""The intake stage: feedback in; ledger, quarantine and dead letters out, at the same partition number.

What belongs into another partition goes out to `feedback.rekeyed`, which is also read, as are `feedback.released` and
the alarms of the watch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Literal

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.stage import Log, Output, Task
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.memory import Memory, restored_memory
from rheostat.streams.intake.process import Intake, Taken
from rheostat.streams.intake.settings import IntakeSettings


class IntakeTask:
    """Intake of one partition number."""

    def __init__(self, intake: Intake, memory: Memory) -> None:
        self.intake = intake
        self.memory = memory

    @property
    def counts(self) -> Counts:
        """What became of all events of this partition so far, restarts included."""
        return self.memory.counts

    @property
    def books(self) -> Mapping[str, Mapping[str, int]]:
        """The counts under the name of the stage."""
        return {"intake": self.counts.as_json()}

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Take in the blocks of this partition number alone."""
        return take_in([self], [blocks], now_ms)[0].output


def take_in(tasks: Sequence[IntakeTask], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Taken]:
    """Take in the blocks of each task, which are of one stage."""
    return tasks[0].intake.process([task.memory for task in tasks], blocks, now_ms)


class IntakeStage:
    """Intake as the engine runs it; see `streams.engine.stage.Stage`."""

    name = "intake"
    sources = (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED, catalogue.ALARMS)
    assignment: Literal["group"] = "group"
    tick_ms = None

    def __init__(self, settings: IntakeSettings) -> None:
        self._settings = settings
        self._intake: Intake | None = None
        self._making = Lock()

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> IntakeTask:
        """Rebuild the state of one partition number from ledger, quarantine and commit metadata."""
        (partition,) = partitions
        count = log.partitions(catalogue.LEDGER)
        with self._making:
            if self._intake is None or self._intake.partitions != count:
                self._intake = Intake(self._settings, count)
            intake = self._intake
        return IntakeTask(intake, restored_memory(self._settings, partition, committed, log, now_ms))

    def process(self, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int) -> list[Output]:
        """Take in the blocks of all tasks together."""
        own = [task for task in tasks if isinstance(task, IntakeTask)]
        return [taken.output for taken in take_in(own, blocks, now_ms)]
