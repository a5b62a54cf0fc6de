"""The loss of a micro-batch for each task, from what a network gives for its rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.deep.tensors import single
from rheostat.learners.deep_settings import RewardSettings
from rheostat.learners.importance import importance_weights
from rheostat.learners.tasks import Task

Loss = Callable[[Tensor, Batch, Floats], Tensor]
"""Takes outputs, the batch and the weights (rows,); returns the mean over rows of weight times loss.

Outputs are (rows,), for pairs (2 * rows,) as `tasks.candidates` orders them, for tasks with actions (rows, actions);
every row of those has an action.
"""


def loss_of(task: Task, rewards: RewardSettings) -> Loss:
    """Return the loss of a task."""
    if task == "rewards":
        return lambda outputs, batch, weight: _rewards(outputs, batch, weight, rewards)
    return {"binary": _binary, "regression": _regression, "pairwise": _pairwise, "classes": _classes}[task]


def _binary(outputs: Tensor, batch: Batch, weight: Floats) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, single(batch.label), single(weight))


def _regression(outputs: Tensor, batch: Batch, weight: Floats) -> Tensor:
    error = torch.sigmoid(outputs) - single(batch.label)
    return (single(weight) * error * error).mean()


def _pairwise(outputs: Tensor, batch: Batch, weight: Floats) -> Tensor:
    first, second = outputs.tensor_split(2)
    return _binary(first - second, batch, weight)


def _classes(outputs: Tensor, batch: Batch, weight: Floats) -> Tensor:
    """-log p of a class that was right, -log(1 - p) of one that was wrong: then any other was right."""
    action = _actions(batch)
    total = outputs.logsumexp(dim=1)
    right = total - outputs.gather(1, action).view(-1)
    wrong = total - outputs.scatter(1, action, -torch.inf).logsumexp(dim=1)
    label = single(batch.label)
    return (single(weight) * (label * right + (1.0 - label) * wrong)).mean()


def _rewards(outputs: Tensor, batch: Batch, weight: Floats, settings: RewardSettings) -> Tensor:
    """Only the output of the chosen action has a loss."""
    of_chosen = outputs.gather(1, _actions(batch)).view(-1)
    loss = _binary if settings.loss == "log" else _regression
    return loss(of_chosen, batch, reward_weights(batch, weight, settings))


def reward_weights(batch: Batch, weight: Floats, settings: RewardSettings) -> Floats:
    """Return the weights times 1 / propensity, bounded and scaled as `RewardSettings` says."""
    assert batch.context is not None
    propensity = np.nan_to_num(batch.context.propensity, nan=1.0)
    weights = importance_weights(propensity, weight, settings.propensity_floor)
    return weights * (weight.sum() / weights.sum()) if settings.self_normalised else weights


def _actions(batch: Batch) -> Tensor:
    assert batch.context is not None
    return torch.from_numpy(batch.context.action.copy()).view(-1, 1)
