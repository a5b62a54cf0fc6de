"""`HashedMLP`: embeddings of categories and scaled numbers into a small network, learned by torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.deep.fisher import fisher_diagonal
from rheostat.learners.deep.losses import loss_gradient
from rheostat.learners.deep.network import Passes, Shape, first_parameters
from rheostat.learners.deep.table_step import descend, embed
from rheostat.learners.deep.tensors import one_thread
from rheostat.learners.deep_settings import DeepSettings, check_settings_for
from rheostat.learners.features import check_batch
from rheostat.learners.growing import GrowingBatches
from rheostat.learners.idadmission import IdTable
from rheostat.learners.idtable import Ids, Rows
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.mlp import (
    HASHED_MLP,
    MLP,
    ChoicePredictor,
    Network,
    PairPredictor,
    Singles,
    table_rows,
    task_predictor,
)
from rheostat.learners.predictors import PARAMETER_MAX
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.tasks import ACTION_TASKS, candidates, halves, teachable

SHARE = 64
"""A micro-batch has a row for every so many learned before it: gradients need many small steps at first."""


class HashedMLP:
    """One hidden layer over embeddings and numbers, learned by Adagrad; only touched rows of the table are updated.

    Torch makes the products of a step; `network.Passes` orders them, forward and back, without autograd, and what is
    done to single rows of the table is compiled (`table_step`). A step goes by the sum of its rows' gradients, not by
    their mean: then sums of squares are comparable between micro-batches of different sizes. A row of weight w has its
    gradient multiplied by w; weight 0 is not seen at all, nor is a row without an action, where the task needs one.
    Deterministic: one thread, seeded first parameters, no random numbers afterwards. A step after which parameters are
    not finite, or their norm is above `PARAMETER_MAX`, is not made, and counted.

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
        self._pending = GrowingBatches(schema, settings.batch_rows, SHARE, context=self.needs_context)
        self._scale = RunningScale(len(single_schema.numeric), settings.signed_log, settings.input_clip)
        self._loss_gradient = loss_gradient(settings.task, settings.rewards)
        self._ids = None if settings.ids is None else IdTable(settings.ids)
        table, dense = first_parameters(self._shape, settings.table_rows, settings.seed)
        # Torch's products work in the memory of these arrays, which it aligns: sums in one order need that, too.
        self._tensors = dense, torch.zeros_like(dense)
        self._table, self._dense, self._dense_gradient = table.numpy(), dense.numpy(), self._tensors[1].numpy()
        self._table_squares, self._dense_squares = np.zeros_like(self._table), np.zeros_like(self._dense)
        self._passes = Passes(self._shape, *self._tensors, 0)
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
        """How many steps were not made because a parameter exploded."""
        return self._undone

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; a step is made whenever a micro-batch is full.

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
        return Network(self._scale.frozen(), self._table, self._keys, *self._shape.parts(self._dense).values())

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
        dense = self._shape.parts(self._dense.copy())
        found = {"table": _window(self._table), **dense, **self._scale.frozen().tensors()}
        if self._ids is not None:
            found["ids.keys"] = _window(self._ids.keys)
        if self.kind == MLP:
            found["task"] = np.frombuffer(self._settings.task.encode(), np.uint8).copy()
        return found

    def learned(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters that learning moves, see `wrapping.Adjustable`."""
        return {"table": self._table.copy(), **self._shape.parts(self._dense.copy())}

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the optimiser's state stays."""
        table = take(learned, "table", np.float32, self._table.shape)
        own = self._shape.parts(self._dense)
        given = {name: take(learned, name, np.float32, part.shape) for name, part in own.items()}
        for name, part in own.items():
            part[...] = given[name]
        self._touched |= (table != self._table).any(axis=1)
        self._table[...] = table

    def fisher(self, batch: Batch) -> dict[str, NDArray[np.floating]]:
        """Return the diagonal of the Fisher information, see `anchor.KnowsFisher`; ValueError but for one output."""
        if self._settings.task not in ("binary", "regression"):
            raise ValueError(f"the Fisher information of task {self._settings.task!r} is not known")
        return fisher_diagonal(self._network(), batch)

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        tensors: Tensors = {
            **{name: each.copy() for name, each in self._state().items()},
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
        for name, own in self._state().items():
            own[...] = take(tensors, name, np.float32, own.shape)
        self._learned_rows, self._steps, self._undone = take(tensors, "counters", np.int64, (3,)).tolist()
        if self._ids is not None:
            self._ids.restore(tensors)
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _state(self) -> dict[str, Singles]:
        return {
            "table": self._table,
            "table.squares": self._table_squares,
            "dense": self._dense,
            "dense.squares": self._dense_squares,
        }

    def _step(self, batch: Batch) -> None:
        self._learned_rows += len(batch)
        shown = candidates(batch) if self._settings.task == "pairwise" else batch
        rows, numbers = self._rows(batch, shown.categorical), shown.numeric.shape[1]
        if self._passes.rows != len(shown):
            self._passes = Passes(self._shape, *self._tensors, len(shown))
        if numbers:
            self._passes.inputs[:, :numbers] = self._scale.update(shown.numeric)
        embed(self._table, rows, self._passes.inputs, numbers)
        weight = np.minimum(batch.weight, self._settings.weight_max)
        with np.errstate(all="ignore"):
            self._passes.backward(self._loss_gradient(self._passes.forward(), batch, weight))
        self._descend(rows, len(batch))

    def _rows(self, batch: Batch, categorical: Ids) -> Rows:
        """Return the row of the table for every hash, -1 for a missing one, and let ids in that were seen enough."""
        hashes = categorical.reshape(-1)
        rows = self._settings.own_rows + table_rows(hashes, 1 << self._settings.table_bits)
        if self._ids is not None:
            by_time = self._settings.ids is not None and self._settings.ids.expire_after_ms is not None
            now = (
                int(batch.context.occurred_at_ms.max()) if by_time and batch.context is not None else self._learned_rows
            )
            own, given = self._ids.see(hashes, now)
            if len(given):
                self._start(given)
            rows = np.where(own >= 0, own, rows)
        rows[hashes == 0] = -1
        return rows

    def _start(self, given: Rows) -> None:
        """Let rows that were just given to ids start where those shared one with others."""
        shared = self._settings.own_rows + table_rows(self._keys[given], 1 << self._settings.table_bits)
        self._table[given] = self._table[shared]
        self._table_squares[given] = 0.0
        self._touched[given] = True

    def _descend(self, rows: Rows, learned: int) -> None:
        """Make a step, and count it."""
        rate, memory_rows, l2 = self._settings.learning_rate, self._settings.memory_rows, self._settings.l2
        keep = 1.0 if memory_rows is None else math.exp(-learned / memory_rows)
        made = descend(
            self._dense[None],
            self._dense_squares[None],
            self._table,
            self._table_squares,
            self._dense_gradient[None],
            rows,
            self._passes.of_embedded.reshape(-1, self._settings.dim),
            np.array([rate, keep, l2 * learned], np.float32),
            PARAMETER_MAX,
            self._touched,
        )
        self._steps, self._undone = self._steps + made, self._undone + (not made)


def _window(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a read-only view that goes on changing with the array."""
    view = array.view()
    view.flags.writeable = False
    return view
