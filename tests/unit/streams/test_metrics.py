"""The table of metrics: complete, typed, in units, and the one that alert rules and runbook speak of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints
from urllib.request import urlopen

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from rheostat.streams.intake.counts import Counts
from rheostat.streams.join.books import NAMES, Books
from rheostat.streams.loop_metrics import LoopMetrics
from rheostat.streams.metrics import (
    CLOSED_LABELS,
    INTAKE_FATES,
    METRICS,
    Cumulative,
    MetricDef,
    Metrics,
    definitions,
    metrics_table,
    serve_metrics,
)

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = {
    *("seconds", "ratio", "nats", "second", "epoch", "sequence", "state"),
    *("bytes", "records", "events", "ids", "examples", "predictions", "requests", "updates", "labels"),
    *(
        "transactions",
        "restores",
        "tasks",
        "swaps",
        "steps",
        "changes",
        "weight",
        "rollbacks",
        "members",
        "verdicts",
        "faults",
        "alarms",
        "trails",
    ),
}
LABELS = {"stage", "topic", "partition", "model", "arm", "fate", "source", *CLOSED_LABELS}


class FakeTask:
    """A task with books."""

    def __init__(self, name: str, counts: Mapping[str, int]) -> None:
        self.books = {name: counts}


def values(registry: CollectorRegistry) -> dict[str, float]:
    """All samples by name and labels, as Prometheus sees them."""
    text = generate_latest(registry).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#") and "_created" not in line]
    return {name: float(value) for name, _, value in lines}


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(each.name for each in METRICS).items() if count > 1] == []


@pytest.mark.parametrize("definition", METRICS, ids=lambda each: each.name)
def test_names_end_in_what_they_count(definition: MetricDef) -> None:
    name = definition.name.removesuffix("_total")
    assert (definition.kind == "counter") == (name != definition.name)
    assert name.rpartition("_")[2] in UNITS
    assert definition.help.endswith(".")
    assert bool(definition.buckets) == (definition.kind == "histogram")
    assert list(definition.buckets) == sorted(set(definition.buckets))


@pytest.mark.parametrize("definition", METRICS, ids=lambda each: each.name)
def test_labels_come_from_closed_sets(definition: MetricDef) -> None:
    assert set(definition.labels) <= LABELS


def test_every_metric_is_a_typed_attribute() -> None:
    kinds = {name: kind.__name__.lower() for name, kind in get_type_hints(Metrics).items()}
    assert kinds == {each.name: each.kind for each in METRICS}
    metrics = Metrics(CollectorRegistry())
    for each in METRICS:
        assert type(getattr(metrics, each.name)).__name__.lower() == each.kind


def test_there_is_nothing_global() -> None:
    before = set(generate_latest(prometheus_client.REGISTRY).split(b"\n# HELP "))
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).learn_examples_total.labels("linear").inc(3)
    Metrics(second)
    assert 'rheostat_learn_examples_total{model="linear"}' in values(first)
    assert 'rheostat_learn_examples_total{model="linear"}' not in values(second)
    assert all(b"rheostat_" not in each for each in before)
    assert b"rheostat_" not in generate_latest(prometheus_client.REGISTRY)


def metrics_in(text: str) -> set[str]:
    """The metrics that a text names, histograms without the suffix of their buckets."""
    return {name.removesuffix("_bucket") for name in re.findall(r"\brheostat_[a-z_]+", text)}


def test_alert_rules_and_their_tests_use_metrics_of_the_table() -> None:
    for file in ("alerts.yml", "alerts_test.yml"):
        used = metrics_in((DEPLOY / "prometheus" / file).read_text())
        assert used, file
        assert used - set(definitions()) == set(), file


def test_label_values_in_rules_exist() -> None:
    text = (DEPLOY / "prometheus/alerts.yml").read_text() + (DEPLOY / "prometheus/alerts_test.yml").read_text()
    known = {**CLOSED_LABELS, "fate": INTAKE_FATES}
    used = [(name, value) for name, value in re.findall(r'(\w+)="([^"]*)"', text) if name in known]
    assert ("verdict", "FAIL") in used
    assert [(name, value) for name, value in used if value not in known[name]] == []


def test_the_runbook_has_the_current_table() -> None:
    assert metrics_table() in (DEPLOY / "README.md").read_text()


def test_the_runbook_speaks_only_of_metrics_that_exist() -> None:
    used = metrics_in((DEPLOY / "README.md").read_text())
    assert used - set(definitions()) == set()


def test_every_rule_says_what_to_do_and_where() -> None:
    rules = (DEPLOY / "prometheus/alerts.yml").read_text().split("- alert: ")[1:]
    runbook = (DEPLOY / "README.md").read_text()
    assert len(rules) == 14
    for rule in rules:
        name = rule.split("\n")[0]
        assert re.search(r"severity: (page|ticket)\n", rule), name
        assert re.search(r'summary: ".{20,}"\n', rule), name
        assert re.search(r'description: ".{60,}"\n', rule), name
        assert f"runbook: deploy/README.md#{name.lower()}\n" in rule
        assert f"\n### {name}\n" in runbook


def test_declared_counters_begin_at_zero() -> None:
    registry = CollectorRegistry()
    Metrics(registry).declare("monitor", "linear")
    found = values(registry)
    assert found['rheostat_monitor_verdicts_total{model="linear",verdict="FAIL"}'] == 0
    assert found['rheostat_monitor_rollbacks_total{model="linear"}'] == 0
    assert not any(name.startswith(("rheostat_learn", "rheostat_follower")) for name in found if "model=" in name)


def test_unknown_reasons_and_paths_do_not_make_series() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number in range(100):
        metrics.follower_refused("linear", f"reason {number}")
        metrics.http_answered(f"/scan/{number}", str(900 + number), 0.001)
    found = values(registry)
    assert found['rheostat_follower_refused_updates_total{model="linear",reason="other"}'] == 100
    assert found['rheostat_serve_http_requests_total{route="other",status="other"}'] == 100


def test_a_model_is_in_one_state() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.drift_state("linear", "healthy")
    metrics.drift_state("linear", "probation")
    states = {name: value for name, value in values(registry).items() if "drift_state" in name}
    assert [name for name, value in states.items() if value] == [
        'rheostat_monitor_drift_state{model="linear",state="probation"}'
    ]
    with pytest.raises(ValueError, match="state: 'tired'"):
        metrics.drift_state("linear", "tired")


@given(st.lists(st.integers(0, 10_000), min_size=1))
def test_a_cumulative_counter_shows_the_last_count(counts: list[int]) -> None:
    registry = CollectorRegistry()
    shown = Cumulative(Metrics(registry).intake_consumed_events_total)
    for count in counts:
        shown.show(("0",), count)
    assert values(registry)['rheostat_intake_consumed_events_total{partition="0"}'] == counts[-1]


def test_a_loop_is_shown() -> None:
    registry = CollectorRegistry()
    observer = LoopMetrics(Metrics(registry))
    task = FakeTask("intake", Counts(consumed=10, accepted=7, duplicate=2, invalid=1).as_json())
    observer.opened("intake", 3, task, 0.2)
    task.books = {"intake": Counts(consumed=20, accepted=15, duplicate=3, invalid=1).as_json()}
    observer.committed("intake", {"feedback.explicit": 10}, {"feedback.ledger": 8}, 0.004)
    observer.aborted("intake", "rebalance")
    observer.lag("intake", 5)
    found = values(registry)
    assert found['rheostat_stage_in_records_total{stage="intake",topic="feedback.explicit"}'] == 10
    assert found['rheostat_stage_out_records_total{stage="intake",topic="feedback.ledger"}'] == 8
    assert found['rheostat_stage_aborted_transactions_total{stage="intake"}'] == 1
    assert found['rheostat_stage_lag_records{stage="intake"}'] == 5
    assert found['rheostat_stage_open_tasks{stage="intake"}'] == 1
    assert found['rheostat_intake_consumed_events_total{partition="3"}'] == 20
    assert found['rheostat_intake_events_total{fate="accepted",partition="3"}'] == 15
    assert found['rheostat_conservation_imbalance_records{partition="3",stage="intake"}'] == 1


def test_a_partition_that_moved_away_is_no_longer_shown() -> None:
    registry = CollectorRegistry()
    observer = LoopMetrics(Metrics(registry))
    for stage, counts in (("intake", Counts(1, 1).as_json()), ("join", Books().counts)):
        for partition in (0, 1):
            observer.opened(stage, partition, FakeTask(stage, counts), 0.1)
        observer.closed(stage, 0)
    found = values(registry)
    assert not any('partition="0"' in name for name in found)
    assert any('partition="1"' in name for name in found)
    assert found['rheostat_stage_open_tasks{stage="join"}'] == 1


def test_a_task_without_books_is_only_counted() -> None:
    registry = CollectorRegistry()
    observer = LoopMetrics(Metrics(registry))
    observer.opened("learn", -1, object(), 1.5)
    observer.closed("learn", -1)
    assert values(registry)['rheostat_stage_restores_total{stage="learn"}'] == 1


def test_every_count_of_intake_is_shown() -> None:
    registry = CollectorRegistry()
    counts = Counts(6, 1, 1, 1, 1, 1, 1, dedup_evicted=2, capped=3, overruled=4)
    LoopMetrics(Metrics(registry)).opened("intake", 0, FakeTask("intake", counts.as_json()), 0.1)
    found = values(registry)
    assert set(counts.as_json()) == {"consumed", *INTAKE_FATES, "readmitted", "dedup_evicted", "capped", "overruled"}
    assert all(found[f'rheostat_intake_events_total{{fate="{fate}",partition="0"}}'] == 1 for fate in INTAKE_FATES)
    assert found['rheostat_intake_evicted_ids_total{partition="0"}'] == 2
    assert found['rheostat_intake_capped_events_total{partition="0"}'] == 3
    assert found['rheostat_intake_overruled_events_total{partition="0"}'] == 4
    assert found['rheostat_conservation_imbalance_records{partition="0",stage="intake"}'] == 0


def test_every_count_of_the_join_is_shown() -> None:
    registry = CollectorRegistry()
    books = Books({name: number for number, name in enumerate(NAMES)})
    LoopMetrics(Metrics(registry)).opened("join", 0, FakeTask("join", books.counts), 0.1)
    shown = [value for name, value in values(registry).items() if name.startswith("rheostat_join_")]
    assert sorted(shown) == list(range(len(NAMES)))
    assert values(registry)['rheostat_conservation_imbalance_records{partition="0",stage="join"}'] > 0


def test_metrics_are_served_over_http() -> None:
    registry = CollectorRegistry()
    Metrics(registry).learn_version_epoch.labels("linear").set(4)
    server = serve_metrics(0, registry)
    try:
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            assert b'rheostat_learn_version_epoch{model="linear"} 4.0' in answer.read()
    finally:
        server.close()
