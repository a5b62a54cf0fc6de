"""Every Prometheus metric of the worker and the server, in one typed table.

`Metrics(registry)` builds them; there are no global metrics. Label values come from closed sets: stages, topics,
partitions, configured models, and `CLOSED_LABELS`; names of sources are bounded in number, see `intake.sources`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from rheostat.schemas.hops import Trail
from rheostat.streams.conservation import OUTCOMES
from rheostat.streams.engine.hops import FAULTS
from rheostat.streams.join.books import FEEDBACK_FATES, PREDICTION_FATES
from rheostat.streams.models.manifest import GATE_CHECKS
from rheostat.streams.models.refusal import CHECKS
from rheostat.streams.serving.arms import SKIPS

Metric = TypeVar("Metric", Counter, Histogram)
PREFIX = "rheostat_"
OTHER = "other"
INTAKE_FATES = OUTCOMES
JOIN_FATES = FEEDBACK_FATES
JOIN_PREDICTION_FATES = PREDICTION_FATES
COUNTED_MAX = 100
"""For how many events one trail is counted at most."""
JOIN_SIDES = ("prediction", "feedback")
JOIN_MEDIA = ("memory", "disk")
UPDATE_KINDS = ("base", "delta")
WITHHELD_REASONS = (*GATE_CHECKS, "apprentice", "log-only")
ALARMS_ABOUT = ("target", "subject", "source", "segment", "lockstep")
CORRECTION_CAUSES = ("burst", "lockstep")
HOPS = ("produce", "intake", "to-join", "join", "intake-join", "to-learn", "learn", "publish", "follow")
DRIFT_STATES = ("healthy", "suspect", "rolling_back", "probation", "frozen")
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NO_DATA", "ERROR", "TIMEOUT")
ROUTES = ("/predict", "/explain", "/models", "/openapi.json", "/feedback", "/healthz", "/metrics")
STATUSES = ("200", "202", "400", "401", "404", "405", "413", "500", "503")
CLOSED_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "reason": (*CHECKS, OTHER),
        "kind": UPDATE_KINDS,
        "verdict": VERDICTS,
        "state": DRIFT_STATES,
        "side": JOIN_SIDES,
        "medium": JOIN_MEDIA,
        "withheld": WITHHELD_REASONS,
        "about": ALARMS_ABOUT,
        "cause": CORRECTION_CAUSES,
        "hop": (*HOPS, OTHER),
        "fault": FAULTS,
        "route": (*ROUTES, OTHER),
        "status": (*STATUSES, OTHER),
        "why": SKIPS,
    }
)
"""All values of the labels that do not depend on the configuration. `fate` depends on the metric: intake or join."""

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_FRESH_MS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 350, 500, 750)
_FRESH = (*(bound_ms / 1000 for bound_ms in _FRESH_MS), 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_HUMAN = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class MetricDef:
    """One metric. `name` lacks the prefix and is also the attribute of `Metrics`; counters end in `_total`.

    The last word of a name (before `_total`) is what is counted or its unit. `buckets` are for histograms only.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, help_text: str, *labels: str) -> MetricDef:
    return MetricDef(name, "counter", help_text, labels)


def _gauge(name: str, help_text: str, *labels: str) -> MetricDef:
    return MetricDef(name, "gauge", help_text, labels)


def _histogram(name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> MetricDef:
    return MetricDef(name, "histogram", help_text, labels, buckets)


METRICS: tuple[MetricDef, ...] = (
    # Every stage.
    _counter("stage_in_records_total", "Records consumed in committed transactions.", "stage", "topic"),
    _counter("stage_out_records_total", "Records written in committed transactions.", "stage", "topic"),
    _counter("stage_committed_transactions_total", "Transactions committed.", "stage"),
    _counter("stage_aborted_transactions_total", "Transactions aborted; their records were read again.", "stage"),
    _histogram("stage_transaction_seconds", "From the poll to the end of the commit.", _FAST, "stage"),
    _counter("stage_restores_total", "Tasks opened: state rebuilt from the log.", "stage"),
    _histogram("stage_restore_seconds", "Time to rebuild a task's state from the log, or its share.", _SLOW, "stage"),
    _gauge("stage_open_tasks", "Tasks this process owns.", "stage"),
    _gauge("stage_lag_records", "How far the stage is behind the end of its sources.", "stage"),
    _counter("stage_bad_trails_total", "Trails in headers passed over; but `clock`: corrected.", "stage", "fault"),
    _gauge(
        "conservation_imbalance_records",
        "Records that went in minus records accounted for; anything but 0 is a defect.",
        "stage",
        "partition",
    ),
    # Intake. Cumulative over the life of the partition: the counts are committed with the offsets.
    _counter("intake_consumed_events_total", "Feedback events consumed, as committed in the log.", "partition"),
    _counter("intake_events_total", "What became of them, as committed in the log.", "partition", "fate"),
    _counter("intake_readmitted_events_total", "Events consumed again: released from quarantine.", "partition"),
    _counter("intake_evicted_ids_total", "Ids forgotten before the window ended: memory was full.", "partition"),
    _counter("intake_capped_events_total", "Events that weigh nothing: their actor gave too many.", "partition"),
    _counter("intake_overruled_events_total", "Events that contradictions took weight from.", "partition"),
    _gauge("intake_source_delay_seconds", "Median age of a source's events; below 0 its clock is ahead.", "source"),
    _gauge("intake_source_clock_faults", "1 for a source whose clock is ahead, or far behind the others.", "source"),
    _counter("intake_source_forwarded_events_total", "Events it put into another partition than theirs.", "source"),
    _gauge("intake_source_reliability_ratio", "The least factor on its weights, of all partitions here.", "source"),
    # Watch. Cumulative over the life of the installation, as committed with the offsets.
    _counter("watch_seen_events_total", "Events of ledger and quarantine looked at."),
    _counter("watch_alarms_total", "Alarms raised, by what they are about.", "about"),
    _counter("watch_corrected_events_total", "Corrections of accepted events.", "cause"),
    _counter("watch_released_events_total", "Events released because their alarm turned out to be none."),
    _gauge("watch_suspicious_alarms", "Alarms under way that take weight away from events."),
    _gauge("watch_waiting_events", "Events that wait for older ones of other partitions."),
    _gauge("watch_unwatched_events", "Events on targets for which there was no place in memory."),
    # Join.
    _counter("join_predictions_total", "Predictions consumed, as committed in the log.", "partition"),
    _counter("join_feedback_events_total", "Ledger events consumed, as committed in the log.", "partition"),
    _counter("join_events_total", "What became of ledger events, as committed in the log.", "partition", "fate"),
    _counter("join_settled_predictions_total", "What became of predictions, likewise.", "partition", "fate"),
    _counter("join_changes_total", "Corrections and retractions consumed, as committed in the log.", "partition"),
    _counter("join_settled_changes_total", "What became of them, likewise.", "partition", "fate"),
    _gauge("join_waiting_records", "Records that wait for their partner.", "partition", "side"),
    _gauge("join_waiting_bytes", "What they take in memory, and their files on disk.", "partition", "medium"),
    # Learn.
    _counter("learn_examples_total", "Examples learned.", "model"),
    _counter("learn_revised_examples_total", "Examples that were learned anew with what they count by now.", "model"),
    _gauge("learn_owed_weight", "Weight that learned examples have lost since and could not be taken back.", "model"),
    _gauge("learn_examples_per_second", "Speed of learning, over the last reporting interval.", "model"),
    _gauge("learn_version_epoch", "Epoch of the version published last.", "model"),
    _gauge("learn_version_sequence", "Sequence of the version published last.", "model"),
    _counter("learn_published_updates_total", "Updates published.", "model", "kind"),
    _gauge("learn_matured_brier_ratio", "Test-then-train Brier loss on matured labels, 0 to 1.", "model"),
    _counter("learn_undone_steps_total", "Steps undone because they would not have been finite.", "model"),
    _counter("learn_left_out_examples_total", "Examples left out, as the model was not finite after them.", "model"),
    _counter("learn_withheld_updates_total", "Updates that servers do not answer with, by why.", "model", "withheld"),
    _gauge("learn_gate_evidence_nats", "Evidence that the gate must close or, if closed, open for its loss.", "model"),
    _histogram("learn_freshness_seconds", "Stamped events: produced to learned and published.", _FRESH, "model"),
    _histogram("learn_hop_seconds", "The same, hop by hop; `publish` ends with the commit.", _FRESH, "model", "hop"),
    # Serving.
    _gauge("follower_version_epoch", "Epoch of the version in use.", "model"),
    _gauge("follower_version_sequence", "Sequence of the version in use.", "model"),
    _gauge("follower_version_age_seconds", "Time since the version in use was published.", "model"),
    _counter("follower_refused_updates_total", "Updates refused; the last good version stayed.", "model", "reason"),
    _counter("follower_swaps_total", "Times another version was taken into use.", "model"),
    _histogram("follower_freshness_seconds", "Stamped events: produced to learned and in use here.", _FRESH, "model"),
    _histogram("follower_hop_seconds", "The same, hop by hop; they add up to it.", _FRESH, "model", "hop"),
    _counter("follower_bad_trails_total", "Trails in headers passed over; but `clock`: corrected.", "fault"),
    _counter("serve_predictions_total", "Predictions answered.", "model"),
    _counter(
        "serve_fallback_predictions_total",
        "Those of them that a fallback answered.",
        "model",
    ),
    _counter("serve_dropped_predictions_total", "Predictions answered but not logged: the queue was full."),
    _counter("serve_http_requests_total", "Requests answered.", "route", "status"),
    _histogram("serve_http_request_seconds", "Time to answer a request.", _FAST, "route"),
    _counter("arm_predictions_total", "Predictions by the arm that gave them, shadows too.", "model", "arm"),
    _counter(
        "arm_skipped_predictions_total", "Those that an arm should have given and did not.", "model", "arm", "why"
    ),
    # Gateway.
    _counter("gateway_requests_total", "Requests answered.", "route", "status"),
    _counter("gateway_events_total", "Events accepted."),
    _gauge("gateway_waiting_events", "Events that the broker has not acknowledged yet."),
    # Monitor.
    _gauge("monitor_drift_evidence_nats", "Natural log of the e-value against 'no worse than before'.", "model"),
    _gauge("monitor_drift_threshold_nats", "The evidence at which a verdict is FAIL.", "model"),
    _gauge("monitor_drift_state", "1 for the state the model is in, 0 for the others.", "model", "state"),
    _counter("monitor_rollbacks_total", "Rollbacks commanded.", "model"),
    _histogram("monitor_time_to_safe_seconds", "Command to last acknowledgement.", _HUMAN, "model"),
    _gauge("monitor_unacknowledged_members", "Members past the deadline of a command.", "model"),
    _counter("monitor_verdicts_total", "Verdicts reached.", "model", "verdict"),
)


class Metrics:
    """The metrics of one process, registered once in `registry`; attributes are named as in the table."""

    stage_in_records_total: Counter
    stage_out_records_total: Counter
    stage_committed_transactions_total: Counter
    stage_aborted_transactions_total: Counter
    stage_transaction_seconds: Histogram
    stage_restores_total: Counter
    stage_restore_seconds: Histogram
    stage_open_tasks: Gauge
    stage_lag_records: Gauge
    stage_bad_trails_total: Counter
    conservation_imbalance_records: Gauge
    intake_consumed_events_total: Counter
    intake_events_total: Counter
    intake_readmitted_events_total: Counter
    intake_evicted_ids_total: Counter
    intake_capped_events_total: Counter
    intake_overruled_events_total: Counter
    intake_source_delay_seconds: Gauge
    intake_source_clock_faults: Gauge
    intake_source_forwarded_events_total: Counter
    intake_source_reliability_ratio: Gauge
    watch_seen_events_total: Counter
    watch_alarms_total: Counter
    watch_corrected_events_total: Counter
    watch_released_events_total: Counter
    watch_suspicious_alarms: Gauge
    watch_waiting_events: Gauge
    watch_unwatched_events: Gauge
    join_predictions_total: Counter
    join_feedback_events_total: Counter
    join_events_total: Counter
    join_settled_predictions_total: Counter
    join_changes_total: Counter
    join_settled_changes_total: Counter
    join_waiting_records: Gauge
    join_waiting_bytes: Gauge
    learn_examples_total: Counter
    learn_revised_examples_total: Counter
    learn_owed_weight: Gauge
    learn_examples_per_second: Gauge
    learn_version_epoch: Gauge
    learn_version_sequence: Gauge
    learn_published_updates_total: Counter
    learn_matured_brier_ratio: Gauge
    learn_undone_steps_total: Counter
    learn_left_out_examples_total: Counter
    learn_withheld_updates_total: Counter
    learn_gate_evidence_nats: Gauge
    learn_freshness_seconds: Histogram
    learn_hop_seconds: Histogram
    follower_version_epoch: Gauge
    follower_version_sequence: Gauge
    follower_version_age_seconds: Gauge
    follower_refused_updates_total: Counter
    follower_swaps_total: Counter
    follower_freshness_seconds: Histogram
    follower_hop_seconds: Histogram
    follower_bad_trails_total: Counter
    serve_predictions_total: Counter
    serve_fallback_predictions_total: Counter
    serve_dropped_predictions_total: Counter
    serve_http_requests_total: Counter
    serve_http_request_seconds: Histogram
    arm_predictions_total: Counter
    arm_skipped_predictions_total: Counter
    gateway_requests_total: Counter
    gateway_events_total: Counter
    gateway_waiting_events: Gauge
    monitor_drift_evidence_nats: Gauge
    monitor_drift_threshold_nats: Gauge
    monitor_drift_state: Gauge
    monitor_rollbacks_total: Counter
    monitor_time_to_safe_seconds: Histogram
    monitor_unacknowledged_members: Gauge
    monitor_verdicts_total: Counter

    def __init__(self, registry: CollectorRegistry) -> None:
        for definition in METRICS:
            setattr(self, definition.name, _build(definition, registry))
        # For what is counted with every request: looking a series up takes longer than counting in it.
        self._series = lru_cache(maxsize=1_024)(_series)

    def declare(self, part: Literal["learn", "follower", "serve", "monitor"], model: str) -> None:
        """Create a model's counters at 0. Prometheus sees no increase in a series that first appears at 1."""
        for definition in METRICS:
            if definition.name.startswith(f"{part}_") and definition.kind == "counter" and "model" in definition.labels:
                values = [(model,) if label == "model" else CLOSED_LABELS[label] for label in definition.labels]
                for labels in product(*values):
                    getattr(self, definition.name).labels(*labels)

    def declare_arm(self, model: str, arm: str) -> None:
        """Create the counters of a model's arm at 0."""
        self.arm_predictions_total.labels(model, arm)
        for why in SKIPS:
            self.arm_skipped_predictions_total.labels(model, arm, why)

    def follower_refused(self, model: str, reason: str) -> None:
        """Count a refused update; a reason that is not one of refusal.CHECKS is counted as `other`."""
        self.follower_refused_updates_total.labels(model, _closed(reason, CHECKS)).inc()

    def serve_answered(self, model: str, count: int, *, fallback: bool) -> None:
        """Count answered predictions, those for which a fallback answered once more."""
        self._series(self.serve_predictions_total, model).inc(count)
        if fallback:
            self.serve_fallback_predictions_total.labels(model).inc(count)

    def learned(self, model: str, trails: Iterable[Trail], committed_ms: int) -> None:
        """Show how long stamped events took until a version that learned them was published."""
        for trail in trails:
            hops = trail.spans(committed_ms, committed_ms)[:-1]
            self._passed(self.learn_freshness_seconds, self.learn_hop_seconds, model, hops, trail.count)

    def followed(self, model: str, trails: Iterable[Trail], read_ms: int, served_ms: int) -> None:
        """Show how long stamped events took until a version that learned them was in use."""
        for trail in trails:
            hops = trail.spans(read_ms, served_ms)
            self._passed(self.follower_freshness_seconds, self.follower_hop_seconds, model, hops, trail.count)

    def http_answered(self, route: str, status: str, seconds: float) -> None:
        """Count an answered request; paths and statuses that are not in the tuples count as `other`."""
        known = _closed(route, ROUTES)
        self._series(self.serve_http_requests_total, known, _closed(status, STATUSES)).inc()
        self._series(self.serve_http_request_seconds, known).observe(seconds)

    def gateway_answered(self, route: str, status: str) -> None:
        """Count a request that the gateway answered, by the same closed sets."""
        self.gateway_requests_total.labels(_closed(route, ROUTES), _closed(status, STATUSES)).inc()

    def drift_state(self, model: str, state: str) -> None:
        """Set the one state that a model is in. Raises ValueError for a state outside `DRIFT_STATES`."""
        if state not in DRIFT_STATES:
            raise ValueError(f"state: {state!r} is not one of {', '.join(DRIFT_STATES)}")
        for each in DRIFT_STATES:
            self.monitor_drift_state.labels(model, each).set(each == state)

    def _passed(
        self, freshness: Histogram, hop: Histogram, model: str, hops: Sequence[tuple[str, int]], count: int
    ) -> None:
        whole = self._series(freshness, model), sum(span_ms for _, span_ms in hops) / 1000
        parts = [(self._series(hop, model, _closed(name, HOPS)), span_ms / 1000) for name, span_ms in hops]
        for _ in range(min(count, COUNTED_MAX)):
            for series, seconds in (whole, *parts):
                series.observe(seconds)


class Cumulative:
    """Brings a counter up to a count that is kept elsewhere, such as in the metadata of committed offsets.

    The counter then shows that count, exact across restarts. `forget` drops the series of a partition that moved away.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._shown: dict[tuple[str, ...], float] = {}

    def show(self, labels: tuple[str, ...], count: float) -> None:
        """Set the counter; a smaller count than before (a log begun anew) resets it, as Prometheus expects."""
        series = self._counter.labels(*labels) if labels else self._counter
        shown = self._shown.get(labels, 0.0)
        if count < shown:
            series.reset()
            shown = 0.0
        series.inc(count - shown)
        self._shown[labels] = count

    def forget(self, first_label: str) -> None:
        """Remove every series whose first label has this value."""
        for labels in [each for each in self._shown if each[0] == first_label]:
            self._counter.remove(*labels)
            del self._shown[labels]


def definitions() -> Mapping[str, MetricDef]:
    """Return the table by full name, as Prometheus shows it (histograms without their suffixes)."""
    return {PREFIX + definition.name: definition for definition in METRICS}


def metrics_table() -> str:
    """Return all metrics as a Markdown table."""
    head = "| metric | type | labels | what |\n|---|---|---|---|\n"
    return head + "".join(
        f"| `{name}` | {each.kind} | {', '.join(each.labels)} | {each.help} |\n" for name, each in definitions().items()
    )


class MetricsServer:
    """Serves /metrics from a daemon thread until closed; port 0 picks a free one."""

    def __init__(self, port: int, registry: CollectorRegistry, host: str = "127.0.0.1") -> None:
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop serving and release the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(port: int, registry: CollectorRegistry) -> MetricsServer:
    """Serve /metrics on the loopback address; reach it from elsewhere through an agent or a sidecar."""
    return MetricsServer(port, registry)


def _series(metric: Metric, *labels: str) -> Metric:
    return metric.labels(*labels)


def _closed(value: str, allowed: Collection[str]) -> str:
    return value if value in allowed else OTHER


def _build(definition: MetricDef, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, labels = PREFIX + definition.name, definition.labels
    if definition.kind == "counter":
        return Counter(name, definition.help, labels, registry=registry)
    if definition.kind == "gauge":
        return Gauge(name, definition.help, labels, registry=registry)
    return Histogram(name, definition.help, labels, registry=registry, buckets=definition.buckets)
