"""What the watch knows, as metrics."""

from __future__ import annotations

from collections.abc import Mapping

from rheostat.streams.loop_metrics import LoopMetrics
from rheostat.streams.metrics import ALARMS_ABOUT, CORRECTION_CAUSES, Cumulative, Metrics
from rheostat.streams.watch.task import RELEASED, SEEN, WatchTask


class WatchMetrics(LoopMetrics):
    """A `LoopObserver` that also shows the counts of the watch, which are exact over restarts."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._own = metrics
        self._task: object = None
        self._seen = Cumulative(metrics.watch_seen_events_total)
        self._released = Cumulative(metrics.watch_released_events_total)
        self._alarms = Cumulative(metrics.watch_alarms_total)
        self._corrected = Cumulative(metrics.watch_corrected_events_total)

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Count a committed transaction and show what the task knows now."""
        super().committed(stage, records_in, records_out, seconds)
        if isinstance(self._task, WatchTask):
            self._show_watch(self._task)

    def opened(self, stage: str, key: int, task: object, seconds: float) -> None:
        """Count a restore and follow the new task."""
        super().opened(stage, key, task, seconds)
        self._task = task
        if isinstance(task, WatchTask):
            self._show_watch(task)

    def _show_watch(self, task: WatchTask) -> None:
        self._seen.show((), task.counts[SEEN])
        self._released.show((), task.counts[RELEASED])
        for about in ALARMS_ABOUT:
            self._alarms.show((about,), task.counts[f"alarms.{about}"])
        for cause in CORRECTION_CAUSES:
            self._corrected.show((cause,), task.counts[f"corrected.{cause}"])
        under_way = [alarm for alarm in task.alarms.standing() if alarm.acts and not alarm.over]
        self._own.watch_suspicious_alarms.set(len(under_way))
        self._own.watch_waiting_events.set(task.waiting)
        self._own.watch_unwatched_events.set(task.unwatched)
