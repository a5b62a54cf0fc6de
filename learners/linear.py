"""`RiverLinear`: logistic regression learned by River in micro-batches, with its state as named tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.linear_step import logits, mean_gradient, sgd_steps
from rheostat.learners.logistic import linear_columns, one_hot, sigmoid
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.predictors import LINEAR, PARAMETER_MAX
from rheostat.learners.river_descent import STATE, Descent, Optimizer
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.scaling import shape_inputs

__all__ = ["LinearSettings", "Optimizer", "RiverLinear"]

_RATES: dict[str, float] = {"adagrad": 0.3, "adam": 0.05, "ftrl": 0.5}


@dataclass(frozen=True, slots=True)
class LinearSettings:
    """How a linear model learns.

    batch_rows: one step of the optimiser per this many rows; smaller follows changes sooner, larger is faster.
    learning_rate: None for the optimiser's default; for "sgd" that is min(1, 8 / (inputs + 1)), below which the
    step is stable: the log loss over standardised inputs has curvature at most (inputs + 1) / 4.
    weight_max: larger weights count as this. signed_log: see `scaling`; input_clip in standard deviations.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: float | None = None
    l2: float = 0.0
    batch_rows: int = 32
    signed_log: bool = True
    input_clip: float = 5.0
    categorical_bins: int = 16
    weight_max: float = 10.0


class _Columns(NamedTuple):
    """Rows to learn from, their numbers shaped, as compiled steps take them."""

    shaped: Floats
    categorical: NDArray[np.uint64]
    label: Floats
    weight: Floats


class RiverLinear:
    """River's `LogisticRegression` behind a running standardisation: its arithmetic on arrays, and its optimisers.

    River takes a data frame for every step, which costs many times the step itself. A test shows that the parameters
    are those that River's `learn_many` learns.

    A row of weight w moves the model w times as far as one of weight 1 in the same micro-batch (its gradient is
    multiplied by w, and the micro-batch's mean is taken over rows); weight 0 is not seen at all. The scale counts
    every row once. A step after which a parameter is not finite, or above `PARAMETER_MAX`, is undone and counted.
    """

    kind = LINEAR

    def __init__(self, schema: FeatureSchema, settings: LinearSettings | None = None) -> None:
        self._schema = schema
        self._settings = settings or LinearSettings()
        columns = linear_columns(schema, self._settings.categorical_bins)
        self._pending = MicroBatcher(schema, self._settings.batch_rows)
        self._scale = RunningScale(columns, self._settings.signed_log, self._settings.input_clip)
        rate = self._settings.learning_rate
        if rate is None:
            rate = _RATES.get(self._settings.optimizer, min(1.0, 8.0 / (columns + 1)))
        self._descent = Descent(self._settings.optimizer, rate, columns)
        self._intercept, self._intercept_rate = 0.0, min(rate, 1.0)
        # Inputs of each categorical feature, and what a 1 is as one of them.
        one = float(shape_inputs(np.ones(1), self._settings.signed_log)[0])
        self._bins = self._settings.categorical_bins, one
        self._inputs, self._gradient = np.zeros((self._settings.batch_rows, columns)), np.zeros(columns)
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
        self._make_steps(self._pending.full(batch))

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        for rows in self._pending.drain():
            self._make_steps(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,); waiting rows have no part in it."""
        check_batch(self._schema, batch)
        scale, found = self._scale, np.empty(len(batch))
        shaped, categorical = self._columns(batch)
        model = self._descent.weights, self._intercept
        logits(shaped, categorical, *self._bins, scale.mean, scale.factor, scale.clip, *model, found)
        return sigmoid(found)

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor("linear/1", ...)` needs."""
        return {
            "bins": np.array([self._settings.categorical_bins], np.uint64),
            "weights": self._descent.weights.copy(),
            "intercept": np.array([self._intercept]),
            **self._scale.frozen().tensors(),
        }

    def learned(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters that learning moves, see `wrapping.Adjustable`. Raises ValueError for "ftrl"."""
        if self._settings.optimizer == "ftrl":
            raise ValueError('optimizer "ftrl" makes its weights anew from sums at every step: they cannot be moved')
        return {"weights": self._descent.weights.copy(), "intercept": np.array([self._intercept])}

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the optimiser's state stays."""
        weights = take(learned, "weights", np.float64, self._descent.weights.shape)
        intercept = float(take(learned, "intercept", np.float64, (1,))[0])
        self._descent.put(weights, self._descent.iterations, {})
        self._intercept = intercept

    def fisher(self, batch: Batch) -> dict[str, NDArray[np.floating]]:
        """Return the diagonal of the Fisher information, see `anchor.KnowsFisher`."""
        inputs = self._scale.frozen().apply(one_hot(batch, self._settings.categorical_bins))
        scores = self.predict(batch)
        variance = scores * (1.0 - scores) / len(batch)
        return {"weights": variance @ (inputs * inputs), "intercept": variance.sum(keepdims=True)}

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        counters = [self._learned_rows, self._steps, self._undone, self._descent.iterations]
        tensors = {
            "weights": self._descent.weights.copy(),
            "intercept": np.array([self._intercept]),
            "counters": np.array(counters, np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            **{f"optimizer.{name}": each for name, each in self._descent.state().items()},
            **self._scale.tensors(),
            **self._pending.tensors(),
        }
        return Snapshot(self.kind, self._schema.id, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema or settings, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = RiverLinear(self._schema, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _columns(self, batch: Batch) -> tuple[Floats, NDArray[np.uint64]]:
        shaped = shape_inputs(batch.numeric, self._settings.signed_log)
        return np.ascontiguousarray(shaped), np.ascontiguousarray(batch.categorical)

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        columns = self._descent.weights.shape
        counters = take(tensors, "counters", np.int64, (4,)).tolist()
        names = STATE[self._settings.optimizer]
        state = {name: take(tensors, f"optimizer.{name}", np.float64, columns) for name in names}
        self._intercept = float(take(tensors, "intercept", np.float64, (1,))[0])
        self._descent.put(take(tensors, "weights", np.float64, columns), counters[3], state)
        self._learned_rows, self._steps, self._undone = counters[:3]
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _make_steps(self, rows: Batch) -> None:
        """Make a step for every `batch_rows` rows, and one for what is left."""
        shaped, categorical = self._columns(rows)
        columns = _Columns(shaped, categorical, np.ascontiguousarray(rows.label), np.ascontiguousarray(rows.weight))
        if self._settings.optimizer == "sgd":
            self._make_sgd_steps(columns)
        else:
            with np.errstate(all="ignore"):
                for start in range(0, len(rows), self._settings.batch_rows):
                    self._step(columns, start, min(start + self._settings.batch_rows, len(rows)))
        self._learned_rows += len(rows)

    def _make_sgd_steps(self, columns: _Columns) -> None:
        """Make all steps of the simplest optimiser in one go: asking River for each costs as much as the step."""
        scale, chosen, descent = self._scale, self._settings, self._descent
        self._intercept, undone = sgd_steps(
            *columns, chosen.batch_rows, *self._bins, chosen.weight_max,
            scale.count, scale.mean, scale.squares, scale.factor, scale.clip,
            descent.weights, self._intercept, chosen.l2, self._inputs, self._gradient,
            descent.rate, self._intercept_rate, PARAMETER_MAX,
        )  # fmt: skip
        made = -(-len(columns.label) // chosen.batch_rows) - undone
        descent.iterations += made
        self._steps += made
        self._undone += undone

    def _step(self, columns: _Columns, start: int, end: int) -> None:
        scale, chosen, before, intercept = self._scale, self._settings, self._descent.mark(), self._intercept
        of_intercept = mean_gradient(
            *columns, start, end, *self._bins, chosen.weight_max,
            scale.count, scale.mean, scale.squares, scale.factor, scale.clip,
            self._descent.weights, intercept, chosen.l2, self._inputs, self._gradient,
        )  # fmt: skip
        self._intercept = intercept - self._intercept_rate * of_intercept
        self._descent.step(self._gradient)
        if abs(self._intercept) <= PARAMETER_MAX and self._descent.sound(PARAMETER_MAX):
            self._steps += 1
        else:
            self._descent.back_to(before)
            self._intercept = intercept
            self._undone += 1
