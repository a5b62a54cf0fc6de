"""`HashedMLP`: embeddings of hashed categories and scaled numbers into a small network, learned by torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.predictors import HASHED_MLP, PARAMETER_MAX, MlpPredictor, table_rows
from rheostat.learners.scaling import RunningScale

DENSE = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class DeepSettings:
    """How the network is built and learns.

    table_bits: the table has 2**table_bits rows, each `dim` numbers. batch_rows: one step per this many rows.
    memory: share of the sum of squared gradients kept at each step of Adagrad; below 1 it goes on following changes
    for ever, 1 is Adagrad proper. weight_max: larger weights count as this. seed: of the first parameters.
    """

    table_bits: int = 16
    dim: int = 8
    hidden: int = 32
    batch_rows: int = 64
    learning_rate: float = 0.1
    memory: float = 0.999
    l2: float = 0.0
    signed_log: bool = True
    input_clip: float = 5.0
    weight_max: float = 10.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.table_bits <= 26 or self.dim < 1 or self.hidden < 1:
            raise ValueError("need table_bits in [0, 26], dim >= 1 and hidden >= 1")
        if not self.learning_rate > 0.0 or not 0.0 < self.memory <= 1.0 or self.l2 < 0.0:
            raise ValueError("need learning_rate > 0, memory in (0, 1] and l2 >= 0")


class HashedMLP:
    """One hidden layer over embeddings and numbers, learned by Adagrad; only touched rows of the table are updated.

    A row of weight w has its gradient multiplied by w; the mean of a micro-batch is taken over rows, and weight 0 is
    not seen at all. Deterministic: one thread, seeded first parameters, no random numbers afterwards. A step
    after which parameters are not finite, or their norm is above `PARAMETER_MAX`, is undone and counted.
    """

    kind = HASHED_MLP

    def __init__(self, schema: FeatureSchema, settings: DeepSettings | None = None) -> None:
        self._schema = schema
        self._settings = settings or DeepSettings()
        self._pending = MicroBatcher(schema, self._settings.batch_rows)
        self._scale = RunningScale(len(schema.numeric), self._settings.signed_log, self._settings.input_clip)
        self._table, self._dense = _first_parameters(schema, self._settings)
        self._table_squares = torch.zeros_like(self._table)
        self._dense_squares = torch.zeros_like(self._dense)
        self._touched = np.zeros(self._table.shape[0], np.bool_)
        self._learned_rows = self._steps = self._undone = 0

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._schema

    @property
    def steps_undone(self) -> int:
        """How many steps were undone because a parameter exploded."""
        return self._undone

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; a step is made whenever `batch_rows` rows are there."""
        with _one_thread():
            for rows in self._pending.add(batch):
                self._step(rows)

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        with _one_thread():
            for rows in self._pending.drain():
                self._step(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,); waiting rows have no part in it."""
        weight, bias, output, output_bias, _ = map(_window, self._parts(self._dense))
        table, scale = _window(self._table), self._scale.frozen()
        return MlpPredictor(self._schema, scale, table, (weight, bias), (output, output_bias)).predict(batch)

    def touched_rows(self) -> dict[str, NDArray[np.int64]]:
        """Return the rows of "table" that changed since the last call (or since `restore`), rising."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        return {"table": rows.astype(np.int64)}

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor("hashed-mlp/1", ...)` needs."""
        # A step makes a new vector of the dense ones, so what is given away of the old one stays as it is.
        dense = dict(zip(DENSE, map(_window, self._parts(self._dense)), strict=False))
        return {"table": _window(self._table), **dense, **self._scale.frozen().tensors()}

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        tensors: Tensors = {
            "table": _array(self._table),
            "table.squares": _array(self._table_squares),
            "dense": _array(self._dense),
            "dense.squares": _array(self._dense_squares),
            "counters": np.array([self._learned_rows, self._steps, self._undone], np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            **self._scale.tensors(),
            **self._pending.tensors(),
        }
        return Snapshot(self.kind, self._schema.id, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema or settings, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = HashedMLP(self._schema, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        self._table = _tensor(tensors, "table", self._table)
        self._table_squares = _tensor(tensors, "table.squares", self._table)
        self._dense = _tensor(tensors, "dense", self._dense)
        self._dense_squares = _tensor(tensors, "dense.squares", self._dense)
        self._learned_rows, self._steps, self._undone = take(tensors, "counters", np.int64, (3,)).tolist()
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _step(self, batch: Batch) -> None:
        scaled = self._scale.update(batch.numeric) if self._schema.numeric else batch.numeric
        self._learned_rows += len(batch)
        rows, places = np.unique(table_rows(batch.categorical, self._table.shape[0]), return_inverse=True)
        index = torch.from_numpy(rows)
        # One vector of all that may move makes one step instead of one for each parameter.
        before = torch.cat([self._dense, self._table.index_select(0, index).view(-1)]).requires_grad_()
        loss = self._loss(batch, scaled, before, torch.from_numpy(places.reshape(-1)))
        loss.backward()  # type: ignore[no-untyped-call]
        assert before.grad is not None
        self._descend(index, before.detach(), before.grad)

    def _loss(self, batch: Batch, scaled: Floats, parameters: Tensor, places: Tensor) -> Tensor:
        *dense, vectors = self._parts(parameters)
        inputs = _single(scaled)
        if self._schema.categorical:
            # As an embedding would do, which takes three times as long to go back through.
            embedded = vectors.index_select(0, places)
            if not (present := batch.categorical != 0).all():
                embedded = embedded * torch.from_numpy(present).view(-1, 1)
            inputs = torch.cat([inputs, embedded.view(len(batch), -1)], dim=1)
        logits = forward(inputs, *dense)
        weight = np.minimum(batch.weight, self._settings.weight_max)
        return functional.binary_cross_entropy_with_logits(logits, _single(batch.label), _single(weight))

    def _descend(self, index: Tensor, before: Tensor, gradient: Tensor) -> None:
        """Make a step of Adagrad, unless it leads to a parameter that is not finite."""
        squares = torch.cat([self._dense_squares, self._table_squares.index_select(0, index).view(-1)])
        if self._settings.l2:
            gradient = gradient.add(before, alpha=self._settings.l2)
        squares.mul_(self._settings.memory).addcmul_(gradient, gradient)
        moved = before.addcdiv(gradient, squares.sqrt().add_(_EPSILON), value=-self._settings.learning_rate)
        # A norm is NaN or infinite if one of its terms is, and NaN passes no comparison.
        if not (float(moved.norm()) <= PARAMETER_MAX and math.isfinite(float(squares.sum()))):
            self._undone += 1
            return
        self._dense, table = moved.tensor_split([self._dense.numel()])
        self._dense_squares, table_squares = squares.tensor_split([self._dense.numel()])
        self._table.index_copy_(0, index, table.view(-1, self._settings.dim))
        self._table_squares.index_copy_(0, index, table_squares.view(-1, self._settings.dim))
        self._touched[index.numpy()] = True
        self._steps += 1

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Return windows on a vector that begins with the dense parameters: these, as in `DENSE`, then table rows."""
        inputs = len(self._schema.numeric) + len(self._schema.categorical) * self._settings.dim
        units = self._settings.hidden
        dense = [inputs * units, units, units, 1]
        weight, *parts, rows = torch.split_with_sizes(vector, [*dense, vector.numel() - sum(dense)])
        return [weight.view(inputs, units), *parts, rows.view(-1, self._settings.dim)]


def forward(inputs: Tensor, weight: Tensor, bias: Tensor, output: Tensor, output_bias: Tensor) -> Tensor:
    """Return the logits (rows,) for inputs (rows, inputs)."""
    hidden = functional.relu(torch.addmm(bias, inputs, weight))
    return torch.addmv(output_bias, hidden, output)


def _first_parameters(schema: FeatureSchema, settings: DeepSettings) -> tuple[Tensor, Tensor]:
    """Return small random embeddings, and a layer by He et al. (2015) before an output that says 1/2 for any input."""
    random = torch.Generator().manual_seed(settings.seed)
    inputs = len(schema.numeric) + len(schema.categorical) * settings.dim
    table = torch.randn(2**settings.table_bits, settings.dim, generator=random) * 0.1
    weight = torch.randn(inputs * settings.hidden, generator=random) * (2.0 / max(inputs, 1)) ** 0.5
    return table, torch.cat([weight, torch.zeros(2 * settings.hidden + 1)])


def _single(array: Floats) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _window(tensor: Tensor) -> NDArray[np.float32]:
    """Return a read-only view that goes on changing with the tensor."""
    array: NDArray[np.float32] = tensor.numpy()
    array.flags.writeable = False
    return array


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.numpy().copy()
    return array


def _tensor(tensors: Tensors, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(take(tensors, name, np.float32, tuple(like.shape)).copy())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: with several threads the last bits differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
