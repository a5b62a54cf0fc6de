"""A step of `HashedMLP` is the one that autograd and Adagrad of torch make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import optim

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep.losses import loss_gradient
from rheostat.learners.deep.network import DENSE
from rheostat.learners.deep.table_step import descend
from rheostat.learners.deep_settings import DeepSettings, RewardSettings
from rheostat.learners.features import select
from rheostat.learners.mlp import Singles, table_rows
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.tasks import Task, candidates, halves
from tests.unit.learners.deep.reference import Reference, loss
from tests.unit.learners.deep.support import ACTIONS, CLASSES, PAIRS, PAIRWISE, REWARDS, SMALL, SQUARED
from tests.unit.learners.support import ANY_SPEED, CATEGORICAL, MIXED, NUMERIC

ROWS = 8
OF_LEAST_ROWS: dict[str, Any] = {"table_bits": 2, "batch_rows": ROWS, "memory_rows": None}
EVERY_TASK = [
    (MIXED, SMALL),
    (NUMERIC, SMALL),
    (CATEGORICAL, SMALL),
    (MIXED, replace(SMALL, task="regression")),
    (PAIRS, PAIRWISE),
    (ACTIONS, CLASSES),
    (ACTIONS, REWARDS),
    (ACTIONS, replace(REWARDS, rewards=SQUARED)),
]


def _learn(
    reference: Reference, optimiser: optim.Optimizer, settings: DeepSettings, scale: RunningScale, batch: Batch
) -> None:
    shown = candidates(batch) if settings.task == "pairwise" else batch
    numbers = scale.update(shown.numeric).astype(np.float32)
    rows = torch.from_numpy(table_rows(shown.categorical, 1 << settings.table_bits))
    outputs = reference(torch.from_numpy(numbers), rows, torch.from_numpy(shown.categorical != 0))
    optimiser.zero_grad()
    loss(settings.task, settings.rewards, outputs, batch, batch.weight).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@pytest.mark.parametrize(("schema", "settings"), EVERY_TASK)
def test_steps_are_those_of_autograd_and_adagrad(schema: FeatureSchema, settings: DeepSettings) -> None:
    settings = replace(settings, **OF_LEAST_ROWS)
    learner, batch = HashedMLP(schema, settings), toy_batch(schema, 10 * ROWS, 1)
    reference = Reference(learner.parameters())
    optimiser = optim.Adagrad(reference.parameters(), settings.learning_rate, eps=1e-8)
    single = halves(schema) if settings.task == "pairwise" else schema
    scale = RunningScale(len(single.numeric), settings.signed_log, settings.input_clip)
    for start in range(0, len(batch), ROWS):
        _learn(reference, optimiser, settings, scale, select(batch, slice(start, start + ROWS)))
    learner.learn(batch)
    found = learner.parameters()
    for name, expected in zip(("table", *DENSE), (reference.table, *reference.dense), strict=True):
        assert np.allclose(np.asarray(found[name]), expected.detach().numpy(), rtol=1e-3, atol=1e-4), name


@ANY_SPEED
@given(
    st.sampled_from(["binary", "regression", "pairwise", "classes", "rewards"]),
    st.sampled_from(["log", "squared"]),
    st.booleans(),
    st.integers(0, 1 << 30),
)
def test_gradients_of_losses_are_those_of_autograd(
    task: Task, of_rewards: Literal["log", "squared"], self_normalised: bool, seed: int
) -> None:
    rewards, random = RewardSettings(of_rewards, self_normalised=self_normalised), np.random.default_rng(seed)
    batch = toy_batch(ACTIONS, 12, seed)
    assert batch.context is not None
    context = replace(batch.context, propensity=random.choice([0.01, 0.3, 1.0, np.nan], 12))
    batch = replace(batch, label=random.random(12), context=context)
    shapes = {"pairwise": (24,), "classes": (12, 3), "rewards": (12, 3)}
    outputs = torch.from_numpy(random.normal(scale=3.0, size=shapes.get(task, (12,)))).requires_grad_()
    loss(task, rewards, outputs, batch, batch.weight).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    found = loss_gradient(task, rewards)(outputs.detach().numpy(), batch, batch.weight)
    assert np.allclose(found, outputs.grad.numpy(), rtol=1e-6, atol=1e-9)


def _table(rows: int, columns: int, seed: int) -> Singles:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


@pytest.mark.parametrize("gradient", [np.nan, np.inf, 1e30, 1.0])
@pytest.mark.parametrize("rate", [0.1, 1e9])
@pytest.mark.parametrize("where", ["dense", "table", "nobody's row"])
def test_a_step_that_explodes_changes_nothing(gradient: float, rate: float, where: str) -> None:
    state = _table(1, 5, 1), np.ones((1, 5), np.float32), _table(4, 2, 2), np.ones((4, 2), np.float32)
    before, touched = [each.copy() for each in state], np.zeros(4, np.bool_)
    of_dense, of_rows = np.zeros((1, 5), np.float32), np.zeros((3, 2), np.float32)
    {"dense": of_dense[0], "table": of_rows[0], "nobody's row": of_rows[1]}[where][1] = gradient
    settings = np.array([rate, 1.0, 0.0], np.float32)
    made = descend(*state, of_dense, np.array([3, -1, 0]), of_rows, settings, 1e6, touched)
    assert made == (where == "nobody's row" or (gradient == 1.0 and rate == 0.1))
    assert touched.tolist() == [made, False, False, made]
    assert made or all(map(np.array_equal, state, before))


def _sum_of_squares(learner: HashedMLP) -> Floats:
    return np.asarray(learner.snapshot().tensors["dense.squares"], np.float64)


@pytest.mark.parametrize("batch_rows", [ROWS, 64])
def test_squared_gradients_are_forgotten_by_rows_not_by_steps(batch_rows: int) -> None:
    learner = HashedMLP(NUMERIC, replace(SMALL, batch_rows=batch_rows, memory_rows=100.0))
    learner.learn(toy_batch(NUMERIC, 640, 1))
    learner.flush()
    before = _sum_of_squares(learner)
    learner.learn(replace(toy_batch(NUMERIC, 64, 2), weight=np.full(64, 1e-20)))
    learner.flush()
    after = _sum_of_squares(learner)
    assert np.allclose(after[before > 0.0], np.exp(-0.64) * before[before > 0.0], rtol=1e-4)


def test_sums_of_squared_gradients_do_not_depend_on_how_many_rows_a_step_has() -> None:
    """Where labels are noise, so are gradients: squares of their sums add up to the same, those of means would not."""
    batch, sums = toy_batch(NUMERIC, 8_000, 1), []
    noise = np.asarray(np.random.default_rng(2).integers(0, 2, len(batch)), np.float64)
    for batch_rows in (ROWS, 128):
        settings = replace(SMALL, batch_rows=batch_rows, learning_rate=1e-30, memory_rows=None)
        learner = HashedMLP(NUMERIC, settings)
        learner.learn(replace(batch, label=noise, weight=np.ones(len(batch))))
        sums.append(float(_sum_of_squares(learner).sum()))
    assert sums[0] == pytest.approx(sums[1], rel=0.5)
