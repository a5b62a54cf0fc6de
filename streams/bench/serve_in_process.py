"""Predictions in the process of an application, through the same `ModelFollower` that it would import."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from rheostat.streams.bench.serve_versions import simulated_inputs
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.follower import ModelFollower

INSTANCES = 1_000
BATCH_ROWS = 1_024
_ROUNDS = 7
_SECONDS_MAX = 30.0


def wait_for_versions(follower: ModelFollower) -> None:
    """Step until every model has a verified version. Raises TimeoutError."""
    deadline = time.monotonic() + _SECONDS_MAX
    while follower.missing() or not follower.caught_up:
        follower.step(100)
        if time.monotonic() > deadline:
            raise TimeoutError(f"no verified version of {', '.join(follower.missing())} came")


def predict_us(follower: ModelFollower, model: str) -> float:
    """Return microseconds of one score, from a dict of numbers and texts to a number.

    The version in use is asked for anew each time. The median of a few rounds over different instances.
    """
    instances = simulated_inputs(_scorer(follower, model).schema, INSTANCES, np.random.default_rng(1))
    features = instances.each(_scorer(follower, model).schema)

    def score_all() -> None:
        for each in features:
            scorer = follower.scorer(model)
            assert scorer is not None
            scorer.score(each)

    return round(_seconds(score_all) / INSTANCES * 1e6, 1)


def predict_per_s(follower: ModelFollower, models: Sequence[str]) -> float:
    """Return scores a second of the slowest of these models, in batches: an array, and lists of texts."""

    def rate(model: str) -> float:
        scorer = _scorer(follower, model)
        inputs = simulated_inputs(scorer.schema, BATCH_ROWS, np.random.default_rng(2))
        return BATCH_ROWS / _seconds(lambda: scorer.scores(inputs.numeric, inputs.categorical))

    return round(min(map(rate, models)))


def _scorer(follower: ModelFollower, model: str) -> Scorer:
    scorer = follower.scorer(model)
    assert scorer is not None
    return scorer


def _seconds(work: Callable[[], object]) -> float:
    work()
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - began)
    return median(rounds)
