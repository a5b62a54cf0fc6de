"""`rheostat bench fads` tells a fad from a change, in a small world."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from rheostat.streams.bench.fad_table import show, sparkline
from rheostat.streams.bench.fad_world import CHANGED, DAY_MS, FAD, HOURS, World, probes
from rheostat.streams.bench.fads import PROTECTIONS, bench_fads, middle

SMALL = World(days=14, fad_day=5, change_day=8, rows_per_hour=40)


@pytest.mark.slow
def test_every_protection_is_measured_and_shown() -> None:
    found = bench_fads("linear", SMALL, worlds=1)
    assert json.loads(json.dumps(found)) == found
    assert set(found["models"]) == set(PROTECTIONS)
    assert found["simulated"] is True
    slow_and_fast = found["models"]["two_timescale"]
    against = slow_and_fast["surface_against_core"]
    assert against["fad"] > 1.2 * against["before"]
    assert (
        max(slow_and_fast["features_moved_by_fad"], key=slow_and_fast["features_moved_by_fad"].__getitem__) == "topic"
    )
    assert slow_and_fast["core_fad_trace_by_day"][0] < 0.3 < found["models"]["plain"]["fad_trace_by_day"][0]
    console = Console(width=120, record=True)
    show(found, console)
    assert "two_timescale" in console.export_text()


def test_the_world_has_a_fad_of_one_day_and_a_change_for_good() -> None:
    world = World(days=10, fad_day=3, change_day=5, rows_per_hour=20_000)
    fad, change = probes(FAD).categorical[0, 0], probes(CHANGED).categorical[0, 0]
    shares, fads, changes = [], [], []
    for day in range(10):
        batch, truth = world.rows(day * HOURS + 12, np.random.default_rng(day))
        assert batch.context is not None
        times = batch.context.occurred_at_ms
        assert (np.diff(times) >= 0).all()
        assert ((times // DAY_MS) == times[0] // DAY_MS).all()
        of_fad, changed = (batch.categorical[:, 0] == topic for topic in (fad, change))
        shares.append(of_fad.mean())
        fads.append(truth[of_fad].mean() > 0.5)
        changes.append(truth[changed].mean() > 0.5)
    assert shares == pytest.approx([0.03] * 3 + [0.3] + [0.003] * 6, abs=0.02)
    assert fads == [False] * 3 + [True] + [False] * 6
    assert changes == [True] * 5 + [False] * 5


def test_the_median_of_runs_counts_never_as_latest() -> None:
    runs = [{"a": 1.0, "b": [1, 9]}, {"a": None, "b": [3, 8]}, {"a": 5.0, "b": [2, 7]}]
    assert middle(runs) == {"a": 5.0, "b": [2, 8]}
    assert middle([{"a": None}, {"a": None}, {"a": 1.0}]) == {"a": None}


def test_a_line_of_blocks() -> None:
    assert sparkline([-1.0, 0.0, 0.5, 1.0, 7.0]) == "▁▁▅██"
