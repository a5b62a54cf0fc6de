"""How the loss of a micro-batch changes with what a network gives for its rows, for each task: in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.deep_settings import RewardSettings
from rheostat.learners.importance import importance_weights
from rheostat.learners.logistic import sigmoid
from rheostat.learners.mlp import softmax
from rheostat.learners.tasks import Task

LossGradient = Callable[[Floats, Batch, Floats], Floats]
"""Takes outputs, the batch and the weights (rows,); returns the gradient of the sum over rows of weight times loss.

It is by the outputs and has their shape: (rows,), for pairs (2 * rows,) as `tasks.candidates` orders them, for tasks
with actions (rows, actions); every row of those has an action.
"""


def loss_gradient(task: Task, rewards: RewardSettings) -> LossGradient:
    """Return the gradient of a task's loss."""
    if task == "rewards":
        return lambda outputs, batch, weight: _rewards(outputs, batch, weight, rewards)
    return {"binary": _binary, "regression": _regression, "pairwise": _pairwise, "classes": _classes}[task]


def _binary(outputs: Floats, batch: Batch, weight: Floats) -> Floats:
    """Cross entropy."""
    return weight * (sigmoid(outputs) - batch.label)


def _regression(outputs: Floats, batch: Batch, weight: Floats) -> Floats:
    """Squared error."""
    expected = sigmoid(outputs)
    return 2.0 * weight * (expected - batch.label) * expected * (1.0 - expected)


def _pairwise(outputs: Floats, batch: Batch, weight: Floats) -> Floats:
    first, second = np.split(outputs, 2)
    of_first = _binary(first - second, batch, weight)
    return np.concatenate([of_first, -of_first])


def _classes(outputs: Floats, batch: Batch, weight: Floats) -> Floats:
    """-log p of a class that was right, -log(1 - p) of one that was wrong: then any other was right."""
    rows, action = np.arange(len(outputs)), _actions(batch)
    others = outputs.copy()
    others[rows, action] = -np.inf
    target = (1.0 - batch.label)[:, None] * softmax(others)
    target[rows, action] = batch.label
    return weight[:, None] * (softmax(outputs) - target)


def _rewards(outputs: Floats, batch: Batch, weight: Floats, settings: RewardSettings) -> Floats:
    """Only the output of the chosen action has a loss."""
    rows, action = np.arange(len(outputs)), _actions(batch)
    of_chosen = _binary if settings.loss == "log" else _regression
    found = np.zeros_like(outputs)
    found[rows, action] = of_chosen(outputs[rows, action], batch, reward_weights(batch, weight, settings))
    return found


def reward_weights(batch: Batch, weight: Floats, settings: RewardSettings) -> Floats:
    """Return the weights times 1 / propensity, bounded and scaled as `RewardSettings` says."""
    assert batch.context is not None
    propensity = np.nan_to_num(batch.context.propensity, nan=1.0)
    weights = importance_weights(propensity, weight, settings.propensity_floor)
    return weights * (weight.sum() / weights.sum()) if settings.self_normalised else weights


def _actions(batch: Batch) -> NDArray[np.int64]:
    assert batch.context is not None
    return batch.context.action
