"""`HashedMLP`: embeddings of categories and scaled numbers into a small network, learned by torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.deep.fisher import fisher_diagonal
from rheostat.learners.deep.losses import loss_of
from rheostat.learners.deep.network import DENSE, Shape, first_parameters, forward
from rheostat.learners.deep.tensors import copied, one_thread, single, taken, window
from rheostat.learners.deep_settings import DeepSettings, check_settings_for
from rheostat.learners.features import check_batch
from rheostat.learners.idadmission import IdTable
from rheostat.learners.idtable import Ids
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.mlp import (
    HASHED_MLP,
    MLP,
    ChoicePredictor,
    Network,
    PairPredictor,
    table_rows,
    task_predictor,
)
from rheostat.learners.predictors import PARAMETER_MAX
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.tasks import ACTION_TASKS, candidates, halves, teachable

_EPSILON = 1e-8


class HashedMLP:
    """One hidden layer over embeddings and numbers, learned by Adagrad; only touched rows of the table are updated.

    A row of weight w has its gradient multiplied by w; the mean of a micro-batch is taken over rows, and weight 0 is
    not seen at all; nor is a row without an action, where the task needs one. Deterministic: one thread, seeded first
    parameters, no random numbers afterwards. A step after which parameters are not finite, or their norm is above
    `PARAMETER_MAX`, is undone and counted.

    An id that gets a row of the table for itself starts from the one it shared until then. The kind is hashed-mlp/1 for
    one output on shared rows, else hashed-mlp/2.
    """

    def __init__(self, schema: FeatureSchema, settings: DeepSettings | None = None) -> None:
        """Raise ValueError for a task that the features are not for, and for more bytes than `memory_bytes_max`."""
        self._schema = schema
        self._settings = settings = settings or DeepSettings()
        self._shape = Shape.of(schema, settings)
        check_settings_for(schema, settings, sum(self._shape.dense))
        single_schema = halves(schema) if settings.task == "pairwise" else schema
        self._pending = MicroBatcher(schema, settings.batch_rows, context=self.needs_context)
        self._scale = RunningScale(len(single_schema.numeric), settings.signed_log, settings.input_clip)
        self._loss_of = loss_of(settings.task, settings.rewards)
        self._ids = None if settings.ids is None else IdTable(settings.ids)
        self._table, self._dense = first_parameters(self._shape, settings.table_rows, settings.seed)
        self._table_squares = torch.zeros_like(self._table)
        self._dense_squares = torch.zeros_like(self._dense)
        self._touched = np.zeros(settings.table_rows, np.bool_)
        self._learned_rows = self._steps = self._undone = 0

    @property
    def kind(self) -> str:
        """Class and layout of the parameters."""
        return HASHED_MLP if self._settings.task == "binary" and self._ids is None else MLP

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._schema

    @property
    def needs_context(self) -> bool:
        """Whether it learns from actions, or forgets ids by the time of events."""
        ids = self._settings.ids
        return self._settings.task in ACTION_TASKS or (ids is not None and ids.expire_after_ms is not None)

    @property
    def steps_undone(self) -> int:
        """How many steps were undone because a parameter exploded."""
        return self._undone

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; a step is made whenever `batch_rows` rows are there.

        Raises ValueError for a batch without a context where the task is about actions.
        """
        check_batch(self._schema, batch)
        batch = teachable(self._settings.task, self._schema, batch)
        with one_thread():
            for rows in self._pending.add(batch):
                self._step(rows)

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        with one_thread():
            for rows in self._pending.drain():
                self._step(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return what the task says of each row (see `tasks`), float64 (rows,); waiting rows have no part in it."""
        return task_predictor(self._schema, self._network(), self._settings.task).predict(batch)

    def choices(self, batch: Batch) -> Floats:
        """Return what is expected of every action, see `mlp.ChoicePredictor`; ValueError for another task."""
        answers = task_predictor(self._schema, self._network(), self._settings.task)
        if not isinstance(answers, ChoicePredictor):
            raise ValueError(f"task {self._settings.task!r} has no actions")
        return answers.choices(batch)

    def values(self, numeric: Floats, categorical: Ids) -> Floats:
        """Return f of single candidates, see `mlp.PairPredictor`; ValueError for another task."""
        answers = task_predictor(self._schema, self._network(), self._settings.task)
        if not isinstance(answers, PairPredictor):
            raise ValueError(f"task {self._settings.task!r} has no pairs")
        return answers.values(numeric, categorical)

    def _network(self) -> Network:
        weight, bias, output, output_bias, _ = map(window, self._shape.parts(self._dense))
        return Network(self._scale.frozen(), window(self._table), self._keys, weight, bias, output, output_bias)

    @property
    def _keys(self) -> Ids:
        return np.zeros(0, np.uint64) if self._ids is None else self._ids.keys

    def touched_rows(self) -> dict[str, NDArray[np.int64]]:
        """Return the rows of "table" (and "ids.keys") that changed since the last call (or since `restore`), rising."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        return {"table": rows} if self._ids is None else {"table": rows, "ids.keys": self._ids.touched()}

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor` needs for this kind."""
        # A step makes a new vector of the dense ones, so what is given away of the old one stays as it is.
        dense = dict(zip(DENSE, map(window, self._shape.parts(self._dense)), strict=False))
        found = {"table": window(self._table), **dense, **self._scale.frozen().tensors()}
        if self._ids is not None:
            keys = self._ids.keys.view()
            keys.flags.writeable = False
            found["ids.keys"] = keys
        if self.kind == MLP:
            found["task"] = np.frombuffer(self._settings.task.encode(), np.uint8).copy()
        return found

    def learned(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters that learning moves, see `wrapping.Adjustable`."""
        dense = zip(DENSE, self._shape.parts(self._dense), strict=False)
        return {"table": copied(self._table), **{name: copied(part) for name, part in dense}}

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the optimiser's state stays."""
        table = taken(learned, "table", self._table)
        parts = zip(DENSE, self._shape.parts(self._dense), strict=False)
        self._dense = torch.cat([taken(learned, name, part).reshape(-1) for name, part in parts])
        self._touched |= (table != self._table).any(dim=1).numpy()
        self._table.copy_(table)

    def fisher(self, batch: Batch) -> dict[str, NDArray[np.floating]]:
        """Return the diagonal of the Fisher information, see `anchor.KnowsFisher`; ValueError but for one output."""
        if self._settings.task not in ("binary", "regression"):
            raise ValueError(f"the Fisher information of task {self._settings.task!r} is not known")
        return fisher_diagonal(self._network(), batch)

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        tensors: Tensors = {
            "table": copied(self._table),
            "table.squares": copied(self._table_squares),
            "dense": copied(self._dense),
            "dense.squares": copied(self._dense_squares),
            "counters": np.array([self._learned_rows, self._steps, self._undone], np.int64),
            "settings": settings_tensor(self._settings.recorded()),
            **({} if self._ids is None else self._ids.tensors()),
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
        check_settings(tensors, self._settings.recorded())
        self._table = taken(tensors, "table", self._table)
        self._table_squares = taken(tensors, "table.squares", self._table)
        self._dense = taken(tensors, "dense", self._dense)
        self._dense_squares = taken(tensors, "dense.squares", self._dense)
        self._learned_rows, self._steps, self._undone = take(tensors, "counters", np.int64, (3,)).tolist()
        if self._ids is not None:
            self._ids.restore(tensors)
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _step(self, batch: Batch) -> None:
        self._learned_rows += len(batch)
        shown = candidates(batch) if self._settings.task == "pairwise" else batch
        scaled = self._scale.update(shown.numeric) if shown.numeric.shape[1] else shown.numeric
        rows, places = np.unique(self._rows(batch, shown.categorical), return_inverse=True)
        index = torch.from_numpy(rows)
        # One vector of all that may move makes one step instead of one for each parameter.
        before = torch.cat([self._dense, self._table.index_select(0, index).view(-1)]).requires_grad_()
        outputs = self._outputs(shown.categorical, scaled, before, torch.from_numpy(places.reshape(-1)))
        loss = self._loss_of(outputs, batch, np.minimum(batch.weight, self._settings.weight_max))
        loss.backward()  # type: ignore[no-untyped-call]
        assert before.grad is not None
        self._descend(index, before.detach(), before.grad)

    def _rows(self, batch: Batch, categorical: Ids) -> NDArray[np.int64]:
        """Return the row of the table for every hash, and let ids in that were seen often enough."""
        if self._ids is None:
            return table_rows(categorical, len(self._table))
        by_time = self._settings.ids is not None and self._settings.ids.expire_after_ms is not None
        now = int(batch.context.occurred_at_ms.max()) if by_time and batch.context is not None else self._learned_rows
        own, given = self._ids.see(categorical.reshape(-1), now)
        if len(given):
            self._start(given)
        others = self._settings.own_rows + table_rows(categorical.reshape(-1), 1 << self._settings.table_bits)
        return np.where(own >= 0, own, others)

    def _start(self, given: NDArray[np.int64]) -> None:
        """Let rows that were just given to ids start where those shared one with others."""
        shared = self._settings.own_rows + table_rows(self._keys[given], 1 << self._settings.table_bits)
        index = torch.from_numpy(given)
        self._table.index_copy_(0, index, self._table.index_select(0, torch.from_numpy(shared)))
        self._table_squares.index_fill_(0, index, 0.0)
        self._touched[given] = True

    def _outputs(self, categorical: Ids, scaled: Floats, parameters: Tensor, places: Tensor) -> Tensor:
        *dense, vectors = self._shape.parts(parameters)
        inputs = single(scaled)
        if categorical.shape[1]:
            # As an embedding would do, which takes three times as long to go back through.
            embedded = vectors.index_select(0, places)
            if not (present := categorical != 0).all():
                embedded = embedded * torch.from_numpy(present).view(-1, 1)
            inputs = torch.cat([inputs, embedded.view(len(categorical), -1)], dim=1)
        return forward(inputs, *dense)

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
