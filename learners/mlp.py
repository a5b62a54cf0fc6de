"""Scoring with a network of one hidden layer over embeddings and numbers, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.idtable import WAYS, Ids, own_rows
from rheostat.learners.layout import take
from rheostat.learners.logistic import sigmoid, sigmoid_one
from rheostat.learners.scaling import Scale
from rheostat.learners.tasks import Task, candidates, check_task, halves, of_action, outputs

HASHED_MLP = "hashed-mlp/1"
MLP = "hashed-mlp/2"

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Network:
    """Its parameters. `keys`: the ids of the table's first rows, which are theirs alone; the others are shared.

    output_weight: (units,) for one output, else (units, outputs).
    """

    scale: Scale
    table: Singles
    keys: Ids
    hidden_weight: Singles
    hidden_bias: Singles
    output_weight: Singles
    output_bias: Singles

    def outputs(self, numeric: Floats, categorical: Ids) -> Floats:
        """Return what the network gives, (rows,) or (rows, outputs), for numbers (rows, N) and hashes (rows, C)."""
        hidden = self.inputs(numeric, categorical) @ self.hidden_weight
        hidden += self.hidden_bias
        np.maximum(hidden, 0.0, out=hidden)
        given: Floats = (hidden @ self.output_weight + self.output_bias).astype(np.float64)
        return given

    def output_one(self, numeric: Sequence[float], categorical: Sequence[int]) -> float:
        """Return what `outputs` gives for one row, of a network with one output and without ids of their own."""
        inputs = np.zeros(self.hidden_weight.shape[0], np.float32)
        place, width = len(numeric), self.table.shape[1]
        inputs[:place] = self.scale.apply_one(numeric)
        for each in categorical:
            if each:
                inputs[place : place + width] = self.table[each & (len(self.table) - 1)]
            place += width
        hidden = inputs @ self.hidden_weight
        hidden += self.hidden_bias
        np.maximum(hidden, 0.0, out=hidden)
        return float(hidden @ self.output_weight) + float(self.output_bias[0])

    def inputs(self, numeric: Floats, categorical: Ids) -> Singles:
        """Return what the hidden layer is given."""
        columns = numeric.shape[1]
        inputs = np.empty((len(numeric), self.hidden_weight.shape[0]), np.float32)
        if columns:
            inputs[:, :columns] = self.scale.apply(numeric)
        if categorical.shape[1]:
            inputs[:, columns:] = embed(self.table, categorical, self.keys)
        return inputs


class Outputs(Protocol):
    """What gives the outputs for features: `Network`, or a module of torch."""

    def outputs(self, numeric: Floats, categorical: Ids) -> Floats:
        """Return float64 (rows,) or (rows, outputs) for numbers (rows, N) and hashes (rows, C)."""
        ...


class MlpPredictor:
    """One output: the probability of a positive label, or an expected value."""

    def __init__(self, schema: FeatureSchema, network: Outputs) -> None:
        self._schema = schema
        self._network = network

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, or the expected one, float64 (rows,)."""
        check_batch(self._schema, batch)
        return sigmoid(self._network.outputs(batch.numeric, batch.categorical))


class MlpOnePredictor(MlpPredictor):
    """The same with a network that can be asked for one row, several times as fast as for a batch of one."""

    def __init__(self, schema: FeatureSchema, network: Network) -> None:
        super().__init__(schema, network)
        self._of_one = network.output_one

    def predict_one(self, numeric: Sequence[float], categorical: Sequence[int]) -> float:
        """Return the same for one row, to rounding, see `PredictsOne`."""
        return sigmoid_one(self._of_one(numeric, categorical))


class PairPredictor:
    """Which of two candidates is preferred, by what one network gives for each."""

    def __init__(self, schema: FeatureSchema, network: Outputs) -> None:
        self._schema = schema
        self._network = network

    def predict(self, batch: Batch) -> Floats:
        """Return the probability that the first candidate is preferred, float64 (rows,)."""
        check_batch(self._schema, batch)
        single = candidates(batch)
        first, second = np.split(self.values(single.numeric, single.categorical), 2)
        return sigmoid(first - second)

    def values(self, numeric: Floats, categorical: Ids) -> Floats:
        """Return f (rows,) of single candidates, to rank any number of them; only differences mean something.

        numeric, categorical: the features of the first half.
        """
        return self._network.outputs(numeric, categorical)


class ChoicePredictor:
    """One output for each action: the probability that it is the right class, or its expected reward."""

    def __init__(self, schema: FeatureSchema, network: Outputs, task: Task) -> None:
        self._schema = schema
        self._network = network
        self._task = task

    def predict(self, batch: Batch) -> Floats:
        """Return what is expected of the action in the batch's context, else of the best, float64 (rows,)."""
        return of_action(self.choices(batch), batch.context)

    def choices(self, batch: Batch) -> Floats:
        """Return what is expected of every action, float64 (rows, actions); of classes, they sum to 1."""
        check_batch(self._schema, batch)
        given = self._network.outputs(batch.numeric, batch.categorical)
        return softmax(given) if self._task == "classes" else sigmoid(given)


def task_predictor(schema: FeatureSchema, network: Outputs, task: Task) -> Predictor:
    """Return what answers for a task with this network."""
    if task == "pairwise":
        return PairPredictor(schema, network)
    if task in ("classes", "rewards"):
        return ChoicePredictor(schema, network, task)
    if isinstance(network, Network) and not len(network.keys):
        return MlpOnePredictor(schema, network)
    return MlpPredictor(schema, network)


def mlp_predictor(schema: FeatureSchema, kind: str, tensors: Tensors) -> Predictor:
    """Return a predictor of kind hashed-mlp on these very arrays; ValueError if they do not fit."""
    task: Task = "binary" if kind == HASHED_MLP else _task(tensors)
    check_task(task, schema)
    single = halves(schema) if task == "pairwise" else schema
    bias = tensors.get("hidden.bias")
    if bias is None or bias.ndim != 1:
        raise ValueError("tensor 'hidden.bias' is missing, or is not a vector")
    table, keys = _table(tensors), _keys(tensors)
    shared, units, given = len(table) - len(keys), len(bias), outputs(task, schema)
    if shared < 1 or shared & (shared - 1):
        raise ValueError("tensor 'table' has no power of two of shared rows")
    inputs = len(schema.numeric) + len(schema.categorical) * table.shape[1]
    inputs = inputs // 2 if task == "pairwise" else inputs
    network = Network(
        Scale.from_tensors(tensors, len(single.numeric)),
        table,
        keys,
        take(tensors, "hidden.weight", np.float32, (inputs, units)),
        take(tensors, "hidden.bias", np.float32, (units,)),
        take(tensors, "output.weight", np.float32, (units,) if given == 1 else (units, given)),
        take(tensors, "output.bias", np.float32, (given,)),
    )
    return task_predictor(schema, network, task)


def _task(tensors: Tensors) -> Task:
    told = tensors.get("task")
    if told is None or told.dtype != np.uint8 or told.size > 100:
        raise ValueError("tensor 'task' is missing, or is no text")
    # `check_task` says whether it is one.
    return cast(Task, told.tobytes().decode(errors="replace"))


def _table(tensors: Tensors) -> Singles:
    table = tensors.get("table")
    if table is None or table.ndim != 2:
        raise ValueError("tensor 'table' is missing, or is not a table")
    return take(tensors, "table", np.float32, table.shape)


def _keys(tensors: Tensors) -> Ids:
    keys = tensors.get("ids.keys")
    if keys is None:
        return np.zeros(0, np.uint64)
    if keys.ndim != 1 or len(keys) < WAYS or len(keys) & (len(keys) - 1):
        raise ValueError("tensor 'ids.keys' is not a power of two of keys")
    return take(tensors, "ids.keys", np.uint64, keys.shape)


def table_rows(categorical: Ids, rows: int) -> NDArray[np.int64]:
    """Return the row of a table with `rows` rows (a power of two) for every hash."""
    return (categorical & np.uint64(rows - 1)).astype(np.int64)


def rows_of(categorical: Ids, rows: int, keys: Ids) -> NDArray[np.int64]:
    """Return the row of a table with `rows` rows for every hash: its own, or else one of those that ids share."""
    shared = len(keys) + table_rows(categorical, rows - len(keys))
    if not len(keys):
        return shared
    own = own_rows(keys, categorical)
    return np.where(own >= 0, own, shared)


def embed(table: Singles, categorical: Ids, keys: Ids) -> Singles:
    """Return the embeddings of each row's categories side by side, zeros for a missing one."""
    vectors = table[rows_of(categorical, len(table), keys)]
    missing = categorical == 0
    if missing.any():
        vectors[missing] = 0.0
    return vectors.reshape(categorical.shape[0], categorical.shape[1] * table.shape[1])


def softmax(values: Floats) -> Floats:
    """Return probabilities (rows, n) that are proportional to the exponentials of values (rows, n)."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
