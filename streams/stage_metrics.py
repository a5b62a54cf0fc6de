"""What stages did, as metrics: the loop's own, the books of intake and join, and what learners and the monitor know."""

from __future__ import annotations

from collections.abc import Mapping

from rheostat.streams.learn.stage import LearnTask
from rheostat.streams.loop_metrics import LoopMetrics
from rheostat.streams.metrics import Metrics


class StageMetrics(LoopMetrics):
    """A `LoopObserver` that also shows learners; one for each stage."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._own = metrics
        self._learner: LearnTask | None = None
        self._before: tuple[int, int, int] = (0, 0, 0)

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Count a committed transaction and show what the task knows now."""
        super().committed(stage, records_in, records_out, seconds)
        if self._learner is not None:
            self._show_learner(self._learner)

    def opened(self, stage: str, key: int, task: object, seconds: float) -> None:
        """Count a restore and follow the new task."""
        super().opened(stage, key, task, seconds)
        if isinstance(task, LearnTask):
            self._learner, self._before = task, (0, 0, 0)

    def _show_learner(self, task: LearnTask) -> None:
        model, metrics = task.settings.model, self._own
        learned, bases, deltas = self._before
        metrics.learn_examples_total.labels(model).inc(task.learned - learned)
        metrics.learn_published_updates_total.labels(model, "base").inc(task.bases - bases)
        metrics.learn_published_updates_total.labels(model, "delta").inc(task.deltas - deltas)
        self._before = (task.learned, task.bases, task.deltas)
        if task.progress.version is not None:
            metrics.learn_version_epoch.labels(model).set(task.progress.version.epoch)
            metrics.learn_version_sequence.labels(model).set(task.progress.version.sequence)
        if task.loss is not None:
            metrics.learn_matured_brier_ratio.labels(model).set(task.loss)
