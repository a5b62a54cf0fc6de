"""What is known of weights: one step is Newton's, many come to where all rows at once would, and doubt comes back."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.learners.contract import Floats
from rheostat.learners.logistic import sigmoid
from rheostat.learners.posterior import Posterior

FOR_EVER = 1e18
LARGEST = 1e6


def _rows(count: int, seed: int = 1) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(seed)
    columns = random.normal(size=(count, 4))
    truth = np.array([1.0, -2.0, 0.5, 0.0])
    label = (random.random(count) < sigmoid(columns @ truth)).astype(np.float64)
    return columns, label, np.ones(count)


def test_a_step_from_nothing_is_newtons() -> None:
    columns, label, weight = _rows(50)
    prior = np.array([1.0, 2.0, 3.0, 4.0])
    posterior = Posterior(prior, FOR_EVER)
    assert posterior.learn(columns, label, weight, LARGEST)
    curvature = np.diag(prior) + 0.25 * columns.T @ columns
    np.testing.assert_allclose(posterior.mean, np.linalg.inv(curvature) @ columns.T @ (label - 0.5), rtol=1e-9)
    assert np.allclose(np.asarray(posterior.tensors()["precision"], np.float64), curvature, rtol=1e-9)


def test_many_steps_come_to_what_all_rows_at_once_say() -> None:
    columns, label, weight = _rows(4_000)
    posterior = Posterior(np.ones(4), FOR_EVER)
    for start in range(0, 4_000, 20):
        part = slice(start, start + 20)
        posterior.learn(columns[part], label[part], weight[part], LARGEST)
    at_once: Floats = np.zeros(4)
    for _ in range(20):
        score = sigmoid(columns @ at_once)
        curvature = np.eye(4) + (columns * (score * (1.0 - score))[:, None]).T @ columns
        at_once = at_once + np.linalg.solve(curvature, columns.T @ (label - score) - at_once)
    deviations = np.sqrt(np.diagonal(np.linalg.inv(curvature)))
    assert (np.abs(posterior.mean - at_once) < 0.6 * deviations).all()


def test_a_row_of_weight_three_is_three_rows_of_one_step() -> None:
    columns, label, _ = _rows(30)
    weight = np.where(np.arange(30) % 2 == 0, 3.0, 1.0)
    heavy, repeated = Posterior(np.ones(4), FOR_EVER), Posterior(np.ones(4), FOR_EVER)
    heavy.learn(columns, label, weight, LARGEST)
    rows = np.repeat(np.arange(30), weight.astype(np.int64))
    repeated.learn(columns[rows], label[rows], np.ones(len(rows)), LARGEST)
    np.testing.assert_allclose(heavy.mean, repeated.mean, rtol=1e-9)


def test_what_is_not_seen_any_more_is_forgotten_down_to_the_prior() -> None:
    columns, label, weight = _rows(500)
    posterior = Posterior(np.full(4, 2.0), memory_rows=100.0)
    posterior.learn(columns, label, weight, LARGEST)
    known = np.diagonal(posterior.tensors()["precision"]).copy()
    assert (known > 20.0).all()
    assert np.abs(posterior.mean[1]) > 0.5
    for _ in range(400):
        posterior.learn(np.zeros((10, 4)), np.zeros(10), np.ones(10), LARGEST)
    assert np.abs(np.asarray(posterior.tensors()["precision"], np.float64) - 2.0 * np.eye(4)).max() < 1e-9
    np.testing.assert_allclose(posterior.mean, np.zeros(4), atol=1e-9)


def test_a_step_beyond_the_largest_changes_nothing() -> None:
    columns, label, weight = _rows(50)
    posterior = Posterior(np.ones(4), FOR_EVER)
    before = {name: tensor.tobytes() for name, tensor in posterior.tensors().items()}
    assert not posterior.learn(columns, label, weight, 1e-9)
    assert not posterior.learn(columns * np.nan, label, weight, LARGEST)
    assert {name: tensor.tobytes() for name, tensor in posterior.tensors().items()} == before


def test_a_prior_that_is_none_is_refused() -> None:
    for prior, memory in ((np.array([1.0, 0.0]), 10.0), (np.ones(2), 0.0)):
        with pytest.raises(ValueError, match="above 0"):
            Posterior(prior, memory)
