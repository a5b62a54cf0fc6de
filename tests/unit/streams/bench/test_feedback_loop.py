"""Clicks on what a model showed mislead it; propensities, or the position as a feature, set it right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rheostat.streams.bench.feedback_loop import (
    ITEMS,
    RECOMMENDERS,
    SHOWN,
    Recommender,
    bench_feedback_loop,
    gini,
    run,
)


def _check_world(seed: int, rounds: int) -> None:
    """The figures of one world; the factors are far from what was found in any of twelve."""
    found = {name: run(recommender, seed, rounds) for name, recommender in RECOMMENDERS.items()}
    biased, right = ("loop", "exploring"), ("weighted", "position")
    for name in right:
        for other in biased:
            assert found[name]["correlation"] > found[other]["correlation"]
            assert found[name]["relevance_error"] < 0.67 * found[other]["relevance_error"]
        assert found[name]["exposure_gini"] < found["loop"]["exposure_gini"] - 0.1
    # Neither is enough alone: showing everything without weights, or knowing the position without showing everything.
    assert found["exploring"]["relevance_error"] > 0.5
    assert found["position_without_exploring"]["relevance_error"] > 1.2 * found["position"]["relevance_error"]
    # A loop shows what it showed.
    assert found["loop"]["exposure_gini"] == pytest.approx(1.0 - SHOWN / ITEMS, abs=0.02)


@pytest.mark.parametrize("seed", [1, 2])
def test_bias_is_there_without_and_gone_with_weights_or_the_position(seed: int) -> None:
    _check_world(seed, rounds=20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 11))
def test_bias_is_there_without_and_gone_with_weights_or_the_position_in_every_world(seed: int) -> None:
    _check_world(seed, rounds=40)


def test_a_world_is_the_same_every_time() -> None:
    recommender = Recommender(explore=0.3, weighted=True, position=True)
    assert run(recommender, 4, 3) == run(recommender, 4, 3)


def test_gini_tells_alike_from_all_in_one() -> None:
    assert gini(np.full(8, 3.0)) == pytest.approx(0.0)
    assert gini(np.array([0.0, 0.0, 0.0, 5.0])) == pytest.approx(0.75)
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)


def test_the_report_says_that_it_is_simulated_and_is_json() -> None:
    steps: list[float] = []
    found = bench_feedback_loop(2, 2, steps.append)
    assert found["simulated"] is True
    assert steps[-1] == 1.0
    assert json.loads(json.dumps(found))["recommenders"].keys() == RECOMMENDERS.keys()
    for figures in found["recommenders"].values():
        for figure in figures.values():
            assert figure["min"] <= figure["mean"] <= figure["max"]
