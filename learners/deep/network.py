"""A network of one hidden layer over embeddings and numbers in torch, with its own way back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from rheostat.learners.contract import FeatureSchema, Floats
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.mlp import Singles
from rheostat.learners.tasks import halves, outputs

DENSE = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")


@dataclass(frozen=True, slots=True)
class Shape:
    """How many numbers go in, through the hidden layer, and out; `dim` of them for each category."""

    numbers: int
    categories: int
    dim: int
    units: int
    outputs: int

    @staticmethod
    def of(schema: FeatureSchema, settings: DeepSettings) -> Shape:
        """Return the shape for these features; of pairs, for one candidate."""
        single = halves(schema) if settings.task == "pairwise" else schema
        sizes = len(single.numeric), len(single.categorical), settings.dim, settings.hidden
        return Shape(*sizes, outputs(settings.task, schema))

    @property
    def inputs(self) -> int:
        """How many numbers the hidden layer is given."""
        return self.numbers + self.categories * self.dim

    @property
    def dense(self) -> tuple[int, int, int, int]:
        """How many numbers each of `DENSE` has."""
        return self.inputs * self.units, self.units, self.units * self.outputs, self.outputs

    def parts(self, dense: Singles) -> dict[str, Singles]:
        """Return windows on a vector of all dense parameters, as in `DENSE`."""
        weight, bias, output, output_bias = np.split(dense, list(accumulate(self.dense[:3])))
        output = output.reshape(self.units, self.outputs) if self.outputs > 1 else output
        return dict(zip(DENSE, (weight.reshape(self.inputs, self.units), bias, output, output_bias), strict=True))


class Passes:
    """Forward through the network and back, for so many rows at once; all that is needed is made beforehand.

    Autograd makes a graph of dozens of small operations for every micro-batch, and each takes microseconds however few
    rows there are; here it is six products and three passes. A bias is the last row of its layer's weights, for an
    input that is always 1. Write numbers and embeddings into `inputs`, all but its last column.
    """

    def __init__(self, shape: Shape, dense: Tensor, gradient: Tensor, rows: int) -> None:
        """Parameters and their gradient lie in vectors as `Shape.parts` tells; `forward` reads, `backward` writes."""
        end = (shape.inputs + 1) * shape.units
        self.rows = rows
        self._inputs, self._hidden = torch.ones(rows, shape.inputs + 1), torch.ones(rows, shape.units + 1)
        self._outputs, self._of_outputs = torch.zeros(2, rows, shape.outputs)
        self._active, self._of_active = torch.zeros(2, rows, shape.units)
        self._of_embedded = torch.zeros(rows, shape.categories * shape.dim)
        self._first, self._of_first = (each[:end].view(-1, shape.units) for each in (dense, gradient))
        self._second, self._of_second = (each[end:].view(-1, shape.outputs) for each in (dense, gradient))
        self._into_embedded = self._first[shape.numbers : shape.inputs].t()
        self._into_hidden = self._second[:-1].t()
        self._of_output_bias: Singles = self._of_second[-1].numpy()
        self._units = self._hidden[:, :-1]
        self.inputs: Singles = self._inputs.numpy()
        self.of_embedded: Singles = self._of_embedded.numpy()

    def forward(self) -> Floats:
        """Return the outputs for `inputs`, float64 (rows,) for one output, else (rows, outputs)."""
        torch.mm(self._inputs, self._first, out=self._units).relu_()
        torch.mm(self._hidden, self._second, out=self._outputs)
        found: Floats = self._outputs.numpy().astype(np.float64)
        return found[:, 0] if found.shape[1] == 1 else found

    def backward(self, of_outputs: Floats) -> None:
        """Write the gradient by the parameters, and by the embeddings to `of_embedded`, from that by the outputs."""
        self._of_outputs.numpy()[:] = of_outputs.reshape(self.rows, -1)
        torch.mm(self._hidden.t(), self._of_outputs, out=self._of_second)
        # Of pairs it is 0, but for the last digit of these numbers, and Adagrad makes any gradient a long step.
        self._of_output_bias[:] = of_outputs.reshape(self.rows, -1).sum(axis=0)
        # A unit is at least 0, and lets a gradient through where it is above.
        torch.sign(self._units, out=self._active)
        torch.mm(self._of_outputs, self._into_hidden, out=self._of_active).mul_(self._active)
        torch.mm(self._inputs.t(), self._of_active, out=self._of_first)
        if self.of_embedded.size:
            torch.mm(self._of_active, self._into_embedded, out=self._of_embedded)


def first_parameters(shape: Shape, table_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return small random embeddings, and a layer by He et al. (2015) before outputs that are 0 for any input."""
    random = torch.Generator().manual_seed(seed)
    table = torch.randn(table_rows, shape.dim, generator=random).mul_(0.1)
    weight = torch.randn(shape.dense[0], generator=random) * (2.0 / max(shape.inputs, 1)) ** 0.5
    return table, torch.cat([weight, torch.zeros(sum(shape.dense[1:]))])
