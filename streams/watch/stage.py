"""The watch as a stage: ledger and quarantine of all partitions in; alarms, corrections and releases out.

    read > wait for one's turn > detectors > alarms > corrections of what was accepted > state

One owner reads everything, so a burst spread over all partitions is seen as one. Alarms go to intake, which holds back
what comes from then on; what was accepted since the onset is corrected here. When an alarm ends as a false one, what
was held because of it is released.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.stage import EachOnItsOwn, Log
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.watch.task import WatchTask


class WatchStage(EachOnItsOwn):
    """The watch as the engine runs it; see `streams.engine.stage.Stage`."""

    name = "watch"
    sources = (catalogue.LEDGER, catalogue.QUARANTINE, catalogue.RELEASED)
    assignment: Literal["static"] = "static"
    tick_ms = 500

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> WatchTask:
        """Take up the state as of the last commit. Raises Corrupt if the log does not have it any more."""
        facts = [json.loads(each.metadata) for each in committed.values() if each.metadata]
        offsets = {at: each.offset for at, each in committed.items() if each.offset}
        task = WatchTask(self._settings, log, offsets, now_ms)
        if facts:
            task.take_up(max(facts, key=lambda each: int(each["seq"])))
        else:
            task.begin_anew()
        return task
