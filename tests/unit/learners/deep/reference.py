"""The network, its losses and its steps as torch alone makes them: by modules, autograd and `torch.optim`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rheostat.learners.contract import Batch, Floats, Tensors
from rheostat.learners.deep.losses import reward_weights
from rheostat.learners.deep.network import DENSE
from rheostat.learners.deep_settings import RewardSettings
from rheostat.learners.tasks import Task


class Reference(nn.Module):
    """One hidden layer over embeddings and numbers, beginning with a model's parameters."""

    def __init__(self, parameters: Tensors) -> None:
        super().__init__()
        self.table, *dense = (nn.Parameter(_tensor(parameters[name])) for name in ("table", *DENSE))
        self.dense = nn.ParameterList(dense)

    def forward(self, numbers: Tensor, rows: Tensor, present: Tensor) -> Tensor:
        """Return outputs (rows,) or (rows, outputs), float32, for scaled numbers and (rows, C) rows of the table."""
        embedded = functional.embedding(rows, self.table) * present.unsqueeze(-1)
        weight, bias, output, output_bias = self.dense
        given: Tensor = functional.relu(torch.cat([numbers, embedded.flatten(1)], dim=1) @ weight + bias) @ output
        return given.add(output_bias)


def loss(task: Task, rewards: RewardSettings, outputs: Tensor, batch: Batch, weight: Floats) -> Tensor:
    """Return the sum over rows of weight times loss."""
    label, weights = (torch.from_numpy(each).to(outputs) for each in (batch.label, weight))
    if task == "pairwise":
        first, second = outputs.tensor_split(2)
        return loss("binary", rewards, first - second, batch, weight)
    if task == "classes":
        chance = functional.softmax(outputs, dim=1).gather(1, _actions(batch)).view(-1)
        return (weights * functional.binary_cross_entropy(chance, label, reduction="none")).sum()
    if task == "rewards":
        of_chosen = outputs.gather(1, _actions(batch)).view(-1)
        like: Task = "binary" if rewards.loss == "log" else "regression"
        return loss(like, rewards, of_chosen, batch, reward_weights(batch, weight, rewards))
    if task == "regression":
        return (weights * (torch.sigmoid(outputs) - label).square()).sum()
    return functional.binary_cross_entropy_with_logits(outputs, label, weights, reduction="sum")


def _actions(batch: Batch) -> Tensor:
    assert batch.context is not None
    return torch.from_numpy(batch.context.action.copy()).view(-1, 1)


def _tensor(array: object) -> Tensor:
    return torch.from_numpy(np.array(array))
