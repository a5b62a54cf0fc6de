"""What a transaction loop tells its observer, as metrics: a `LoopObserver`.

Intake and join tasks keep cumulative `counts` that are committed with their offsets; they are shown after each commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import NamedTuple, Protocol, runtime_checkable

from rheostat.schemas.hops import Trail
from rheostat.streams.join.books import (
    CHANGE_FATES,
    CHANGES_IN,
    FEEDBACK_IN,
    PREDICTIONS_IN,
    WAITING_FEEDBACK,
    WAITING_PREDICTIONS,
    imbalance,
)
from rheostat.streams.metrics import (
    INTAKE_FATES,
    JOIN_FATES,
    JOIN_MEDIA,
    JOIN_PREDICTION_FATES,
    JOIN_SIDES,
    Cumulative,
    Metrics,
)


@runtime_checkable
class Counted(Protocol):
    """A task that keeps books: cumulative counts by name, under "intake" or "join", or both."""

    @property
    def books(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counts as of the last `process`."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A task with a join in it."""

    @property
    def waiting_bytes(self) -> Mapping[str, int]:
        """Return how many bytes of records wait in memory and on disk."""
        ...


class LoopMetrics:
    """Shows commits, aborts, restores, lag and the books of the tasks. Safe to use from several loops' threads.

    The books are shown of tasks that own one partition number, since only those keep their own.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._books: dict[tuple[str, int], Counted] = {}
        self._keeping: dict[tuple[str, int], Keeping] = {}
        self._open: dict[str, set[int]] = {}
        self._lock = Lock()
        self._shown = {"intake": _intake_books(metrics), "join": _join_books(metrics)}

    def committed(
        self, stage: str, records_in: Mapping[str, int], records_out: Mapping[str, int], seconds: float
    ) -> None:
        """Count a committed transaction and show the books."""
        for topic, count in records_in.items():
            self._metrics.stage_in_records_total.labels(stage, topic).inc(count)
        for topic, count in records_out.items():
            self._metrics.stage_out_records_total.labels(stage, topic).inc(count)
        self._metrics.stage_committed_transactions_total.labels(stage).inc()
        self._metrics.stage_transaction_seconds.labels(stage).observe(seconds)
        with self._lock:
            for (name, partition), task in self._books.items():
                if name == stage:
                    self._show(str(partition), task.books)
                    self._show_bytes(name, partition)

    def aborted(self, stage: str, reason: str) -> None:
        """Count an aborted transaction; the reason is for the log only."""
        self._metrics.stage_aborted_transactions_total.labels(stage).inc()

    def opened(self, stage: str, key: int, task: object, seconds: float) -> None:
        """Count a restore and show the books as they were restored."""
        self._metrics.stage_restores_total.labels(stage).inc()
        self._metrics.stage_restore_seconds.labels(stage).observe(seconds)
        with self._lock:
            self._open.setdefault(stage, set()).add(key)
            self._metrics.stage_open_tasks.labels(stage).set(len(self._open[stage]))
            if key >= 0 and isinstance(task, Counted):
                self._books[stage, key] = task
                self._show(str(key), task.books)
                if isinstance(task, Keeping):
                    self._keeping[stage, key] = task
                    self._show_bytes(stage, key)

    def closed(self, stage: str, key: int) -> None:
        """Drop a task's series: another process shows them from now on."""
        with self._lock:
            self._open.get(stage, set()).discard(key)
            self._metrics.stage_open_tasks.labels(stage).set(len(self._open.get(stage, ())))
            if (task := self._books.pop((stage, key), None)) is not None:
                for name in task.books:
                    self._forget(name, str(key))
                if self._keeping.pop((stage, key), None) is not None:
                    for medium in JOIN_MEDIA:
                        self._metrics.join_waiting_bytes.remove(str(key), medium)

    def lag(self, stage: str, records: int) -> None:
        """Set how far a stage is behind."""
        self._metrics.stage_lag_records.labels(stage).set(records)

    def passed(self, stage: str, trails: Sequence[Trail], committed_ms: int) -> None:
        """Show how old what a learner published was; stages before it show nothing."""
        if stage.startswith("learn-"):
            self._metrics.learned(stage.removeprefix("learn-"), trails, committed_ms)

    def bad_trail(self, stage: str, fault: str) -> None:
        """Count a trail that had a fault."""
        self._metrics.stage_bad_trails_total.labels(stage, fault).inc()

    def _show(self, partition: str, books: Mapping[str, Mapping[str, int]]) -> None:
        for name, counts in books.items():
            self._show_one(name, partition, counts)

    def _show_bytes(self, stage: str, key: int) -> None:
        if (task := self._keeping.get((stage, key))) is not None:
            for medium, size in task.waiting_bytes.items():
                self._metrics.join_waiting_bytes.labels(str(key), medium).set(size)

    def _show_one(self, name: str, partition: str, by_name: Mapping[str, int]) -> None:
        for line in self._shown[name]:
            line.total.show((partition, *line.labels), by_name[line.name])
        if name == "intake":
            missing = by_name["consumed"] - sum(by_name[fate] for fate in INTAKE_FATES)
        else:
            missing = imbalance(by_name)
            for side, waiting in zip(JOIN_SIDES, (WAITING_PREDICTIONS, WAITING_FEEDBACK), strict=True):
                self._metrics.join_waiting_records.labels(partition, side).set(by_name[waiting])
        self._metrics.conservation_imbalance_records.labels(name, partition).set(missing)

    def _forget(self, name: str, partition: str) -> None:
        for line in self._shown[name]:
            line.total.forget(partition)
        if name == "join":
            for side in JOIN_SIDES:
                self._metrics.join_waiting_records.remove(partition, side)
        self._metrics.conservation_imbalance_records.remove(name, partition)


class _Line(NamedTuple):
    """One count of the books, and where it is shown."""

    name: str
    total: Cumulative
    labels: tuple[str, ...] = ()


def _intake_books(metrics: Metrics) -> list[_Line]:
    fates = Cumulative(metrics.intake_events_total)
    return [
        _Line("consumed", Cumulative(metrics.intake_consumed_events_total)),
        _Line("readmitted", Cumulative(metrics.intake_readmitted_events_total)),
        _Line("dedup_evicted", Cumulative(metrics.intake_evicted_ids_total)),
        _Line("capped", Cumulative(metrics.intake_capped_events_total)),
        _Line("overruled", Cumulative(metrics.intake_overruled_events_total)),
        *(_Line(fate, fates, (fate,)) for fate in INTAKE_FATES),
    ]


def _join_books(metrics: Metrics) -> list[_Line]:
    predictions = Cumulative(metrics.join_settled_predictions_total)
    feedback = Cumulative(metrics.join_events_total)
    changes = Cumulative(metrics.join_settled_changes_total)
    return [
        _Line(PREDICTIONS_IN, Cumulative(metrics.join_predictions_total)),
        _Line(FEEDBACK_IN, Cumulative(metrics.join_feedback_events_total)),
        *(_Line(fate, predictions, (fate,)) for fate in JOIN_PREDICTION_FATES),
        _Line(CHANGES_IN, Cumulative(metrics.join_changes_total)),
        *(_Line(fate, feedback, (fate,)) for fate in JOIN_FATES),
        *(_Line(fate, changes, (fate,)) for fate in CHANGE_FATES),
    ]
