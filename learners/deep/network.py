"""A network of one hidden layer over embeddings and numbers, as one vector of parameters in torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.tasks import halves, outputs

DENSE = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")


@dataclass(frozen=True, slots=True)
class Shape:
    """How many numbers go in, through the hidden layer, and out; `dim` of them for each category."""

    inputs: int
    units: int
    outputs: int
    dim: int

    @staticmethod
    def of(schema: FeatureSchema, settings: DeepSettings) -> Shape:
        """Return the shape for these features; of pairs, for one candidate."""
        single = halves(schema) if settings.task == "pairwise" else schema
        inputs = len(single.numeric) + len(single.categorical) * settings.dim
        return Shape(inputs, settings.hidden, outputs(settings.task, schema), settings.dim)

    @property
    def dense(self) -> tuple[int, int, int, int]:
        """How many numbers each of `DENSE` has."""
        return self.inputs * self.units, self.units, self.units * self.outputs, self.outputs

    def parts(self, vector: Tensor) -> list[Tensor]:
        """Return windows on a vector that begins with the dense parameters: these, as in `DENSE`, then table rows."""
        sizes = self.dense
        weight, bias, output, *parts = torch.split_with_sizes(vector, [*sizes, vector.numel() - sum(sizes)])
        if self.outputs > 1:
            output = output.view(self.units, self.outputs)
        return [weight.view(self.inputs, self.units), bias, output, parts[0], parts[1].view(-1, self.dim)]


def forward(inputs: Tensor, weight: Tensor, bias: Tensor, output: Tensor, output_bias: Tensor) -> Tensor:
    """Return what the network gives for inputs (rows, inputs): (rows,) for one output, else (rows, outputs)."""
    hidden = functional.relu(torch.addmm(bias, inputs, weight))
    return (torch.addmv if output.dim() == 1 else torch.addmm)(output_bias, hidden, output)


def first_parameters(shape: Shape, table_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return small random embeddings, and a layer by He et al. (2015) before outputs that are 0 for any input."""
    random = torch.Generator().manual_seed(seed)
    table = torch.randn(table_rows, shape.dim, generator=random).mul_(0.1)
    weight = torch.randn(shape.dense[0], generator=random) * (2.0 / max(shape.inputs, 1)) ** 0.5
    return table, torch.cat([weight, torch.zeros(sum(shape.dense[1:]))])
