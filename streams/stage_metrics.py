"""What stages did, as metrics: the loop's own, the books, sources of feedback, what learners and the monitor know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from rheostat.streams.loop_metrics import LoopMetrics
from rheostat.streams.metrics import DRIFT_STATES, WITHHELD_REASONS, Cumulative, Metrics

# A process has one or two of the stages, and importing another takes as long as a good part of its own start.
if TYPE_CHECKING:
    from rheostat.streams.intake.reliability import Reliability
    from rheostat.streams.intake.sources import Sources
    from rheostat.streams.intake.stage import IntakeTask
    from rheostat.streams.learn.stage import LearnTask
    from rheostat.streams.monitor.stage import MonitorTask

SPEED_OVER_S = 5.0
SOURCES_EVERY_S = 1.0


class StageMetrics(LoopMetrics):
    """A `LoopObserver` that also shows sources, learners and the monitor; one for each stage."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._own = metrics
        self._task: Any = None
        self._before: dict[str, int] = {}
        self._speed_since = (monotonic(), 0)
        self._sources_at = -SOURCES_EVERY_S
        self._forwarded = Cumulative(metrics.intake_source_forwarded_events_total)
        self._ratings: dict[int, Reliability] = {}

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Count a committed transaction and show what the task knows now."""
        super().committed(stage, records_in, records_out, seconds)
        if stage.startswith("learn-"):
            self._show_learner(self._task)
        elif stage == "monitor":
            self._show_monitor(self._task)
        elif intake := _intake_of(stage, self._task):
            self._show_sources(intake.intake.sources)

    def opened(self, stage: str, key: int, task: object, seconds: float) -> None:
        """Count a restore and follow the new task, whose counters begin at zero."""
        super().opened(stage, key, task, seconds)
        self._task, self._before, self._speed_since = task, {}, (monotonic(), 0)
        if intake := _intake_of(stage, task):
            self._ratings[key] = intake.memory.weigher.reliability
        if stage.startswith("learn-"):
            self._own.declare("learn", self._task.settings.model)

    def closed(self, stage: str, key: int) -> None:
        """Drop a task's series, and what it knows of sources."""
        super().closed(stage, key)
        self._ratings.pop(key, None)

    def _show_learner(self, task: LearnTask) -> None:
        model, own = task.settings.model, self._own
        own.learn_examples_total.labels(model).inc(self._more("learned", task.learned))
        own.learn_revised_examples_total.labels(model).inc(self._more("revised", task.revised))
        own.learn_owed_weight.labels(model).set(task.progress.owed_weight)
        own.learn_published_updates_total.labels(model, "base").inc(self._more("bases", task.bases))
        own.learn_published_updates_total.labels(model, "delta").inc(self._more("deltas", task.deltas))
        own.learn_undone_steps_total.labels(model).inc(self._more("undone", task.steps_undone))
        own.learn_left_out_examples_total.labels(model).inc(self._more("left out", task.left_out))
        for reason in WITHHELD_REASONS:
            more = self._more(f"withheld {reason}", task.withheld[reason])
            own.learn_withheld_updates_total.labels(model, reason).inc(more)
        own.learn_gate_evidence_nats.labels(model).set(max(0.0, task.gate.state.bets.nats))
        since, learned = self._speed_since
        if (passed := monotonic() - since) >= SPEED_OVER_S:
            own.learn_examples_per_second.labels(model).set((task.learned - learned) / passed)
            self._speed_since = (since + passed, task.learned)
        if task.progress.version is not None:
            own.learn_version_epoch.labels(model).set(task.progress.version.epoch)
            own.learn_version_sequence.labels(model).set(task.progress.version.sequence)
        if task.loss is not None:
            own.learn_matured_brier_ratio.labels(model).set(task.loss)

    def _show_monitor(self, task: MonitorTask) -> None:
        from rheostat.streams.models.commands import Command
        from rheostat.streams.monitor.effects import Decision

        own = self._own
        for model, watch in task.watches.items():
            if f"seen {model}" not in self._before:
                self._before[f"seen {model}"] = 1
                own.declare("monitor", model)
            own.monitor_drift_evidence_nats.labels(model).set(watch.log_evidence())
            own.monitor_drift_threshold_nats.labels(model).set(math.log(watch.settings.arl_events))
            for state in DRIFT_STATES:
                own.monitor_drift_state.labels(model, state).set(float(watch.phase == state))
            pending = watch.pending
            late = len(pending.missing) if pending is not None and pending.reported else 0
            own.monitor_unacknowledged_members.labels(model).set(late)
            while watch.safe_seconds:
                own.monitor_time_to_safe_seconds.labels(model).observe(watch.safe_seconds.pop())
        for effect in task.decided:
            if isinstance(effect, Decision):
                own.monitor_verdicts_total.labels(effect.model, effect.verdict).inc()
            elif isinstance(effect, Command) and effect.kind == "rollback":
                own.monitor_rollbacks_total.labels(effect.model).inc()

    def _show_sources(self, sources: Sources) -> None:
        if monotonic() - self._sources_at < SOURCES_EVERY_S:
            return
        self._sources_at = monotonic()
        for each in sources.report():
            if each.delay_ms is not None:
                self._own.intake_source_delay_seconds.labels(each.name).set(each.delay_ms / 1000)
                self._own.intake_source_clock_faults.labels(each.name).set(each.fault is not None)
            self._forwarded.show((each.name,), each.forwarded)
            found = [rating.of(each.name) for rating in list(self._ratings.values())]
            if factors := [factor for factor in found if factor is not None]:
                self._own.intake_source_reliability_ratio.labels(each.name).set(min(factors))

    def _more(self, name: str, now: int) -> int:
        """Return by how much a counter of the task has grown since it was last shown; one that went back has not."""
        grown = now - self._before.get(name, 0)
        self._before[name] = now
        return max(0, grown)


def _intake_of(stage: str, task: Any) -> IntakeTask | None:
    """Return the task of intake, or the part of a task that is intake's, if there is one."""
    if stage == "intake-join":
        task = task.intake
    return task if stage in ("intake", "intake-join") else None
