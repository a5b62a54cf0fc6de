"""Modules of torch for tests, as somebody who uses `TorchLearner` would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rheostat.learners.contract import FeatureSchema

ROWS = 64


class Wide(nn.Module):
    """An embedding for each feature's categories, a hidden layer with dropout, and some outputs."""

    def __init__(self, numbers: int, categories: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ROWS, 3)
        self.hidden = nn.Linear(numbers + 3 * categories, 16)
        self.norm = nn.LayerNorm(16)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(16, outputs)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        inputs = torch.cat([numeric, self.embedding(categorical).flatten(1)], dim=1)
        given: Tensor = self.output(self.dropout(torch.relu(self.norm(self.hidden(inputs)))))
        return given


def wide(schema: FeatureSchema) -> nn.Module:
    return Wide(len(schema.numeric), len(schema.categorical), len(schema.actions) or 1, 0.1)


def of_one_candidate(schema: FeatureSchema) -> nn.Module:
    return Wide(len(schema.numeric) // 2, len(schema.categorical) // 2, 1, 0.1)


class Linear(nn.Module):
    """Logistic regression, giving (rows,)."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(numbers + 1))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        return numeric @ self.weight[1:] + self.weight[0]


def linear(schema: FeatureSchema) -> nn.Module:
    return Linear(len(schema.numeric))


not_a_function = 3
