"""`RiverLinear`: logistic regression learned by River in micro-batches, with its state as named tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from river import linear_model, optim
from river.utils.dataframe import into_frame, into_series

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.logistic import linear_columns, one_hot, sigmoid
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.predictors import LINEAR, PARAMETER_MAX, LinearPredictor
from rheostat.learners.scaling import RunningScale

Optimizer = Literal["sgd", "adagrad", "adam", "ftrl"]

_STATE: dict[str, tuple[str, ...]] = {"sgd": (), "adagrad": ("g2",), "adam": ("m", "v"), "ftrl": ("z", "n")}
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


class _LogLoss(optim.losses.Log):
    """River's log loss, also for labels between 0 and 1, and without overflow."""

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return sigmoid(y_pred) - y_true


class RiverLinear:
    """River's `LogisticRegression` behind a running standardisation.

    A row of weight w moves the model w times as far as one of weight 1 in the same micro-batch (its gradient is
    multiplied by w, and the micro-batch's mean is taken over rows); weight 0 is not seen at all. The scale counts
    every row once. A step after which a parameter is not finite, or above `PARAMETER_MAX`, is undone and counted.
    """

    kind = LINEAR

    def __init__(self, schema: FeatureSchema, settings: LinearSettings | None = None) -> None:
        self._schema = schema
        self._settings = settings or LinearSettings()
        columns = linear_columns(schema, self._settings.categorical_bins)
        self._names = [f"x{index}" for index in range(columns)]
        self._pending = MicroBatcher(schema, self._settings.batch_rows)
        self._scale = RunningScale(columns, self._settings.signed_log, self._settings.input_clip)
        self._rows = _Rows(self._settings.batch_rows, self._names)
        self._model = _model(self._settings, columns)
        self._learned_rows = self._steps = self._undone = 0
        self._weights: Floats = np.zeros(columns)
        self._import(self._weights, 0.0, 0, {name: np.zeros(columns) for name in self._state_names})

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
        for rows in self._pending.add(batch):
            self._step(rows)

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        for rows in self._pending.drain():
            self._step(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,); waiting rows have no part in it."""
        scale, bins = self._scale.frozen(), self._settings.categorical_bins
        return LinearPredictor(self._schema, bins, scale, self._weights, float(self._model.intercept)).predict(batch)

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor("linear/1", ...)` needs."""
        return {
            "bins": np.array([self._settings.categorical_bins], np.uint64),
            "weights": self._weights.copy(),
            "intercept": np.array([float(self._model.intercept)]),
            **self._scale.frozen().tensors(),
        }

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        counters = [self._learned_rows, self._steps, self._undone, int(self._model.optimizer.n_iterations)]
        tensors = {
            "weights": self._weights.copy(),
            "intercept": np.array([float(self._model.intercept)]),
            "counters": np.array(counters, np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            **{f"optimizer.{name}": self._state(name) for name in self._state_names},
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

    @property
    def _state_names(self) -> tuple[str, ...]:
        return _STATE[self._settings.optimizer]

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        columns = (len(self._names),)
        counters = take(tensors, "counters", np.int64, (4,)).tolist()
        state = {name: take(tensors, f"optimizer.{name}", np.float64, columns) for name in self._state_names}
        intercept = float(take(tensors, "intercept", np.float64, (1,))[0])
        self._import(take(tensors, "weights", np.float64, columns), intercept, counters[3], state)
        self._learned_rows, self._steps, self._undone = counters[:3]
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _step(self, batch: Batch) -> None:
        inputs = self._scale.update(one_hot(batch, self._settings.categorical_bins))
        self._learned_rows += len(batch)
        before = self._weights, float(self._model.intercept), int(self._model.optimizer.n_iterations)
        state = {name: self._state(name) for name in self._state_names}
        weight = np.minimum(batch.weight, self._settings.weight_max)
        with np.errstate(all="ignore"):
            self._model.learn_many(*self._rows.fill(inputs, batch.label, weight))
        self._weights = self._learned_weights()
        if self._sound():
            self._steps += 1
        else:
            self._import(*before, state)
            self._undone += 1

    def _sound(self) -> bool:
        states_finite = all(np.isfinite(self._state(name)).all() for name in self._state_names)
        # NaN passes no comparison, and is the maximum of the weights it is among.
        largest = float(np.abs(self._weights).max(initial=0.0))
        return largest <= PARAMETER_MAX and abs(float(self._model.intercept)) <= PARAMETER_MAX and states_finite

    def _learned_weights(self) -> Floats:
        weights = self._model.weights
        return np.array([weights[name] for name in self._names], np.float64)

    def _state(self, name: str) -> Floats:
        values = getattr(self._model.optimizer, name)
        return np.array([values[column] for column in self._names], np.float64)

    def _import(self, weights: Floats, intercept: float, iterations: int, state: Tensors) -> None:
        """Put parameters into River's objects; River has no public way to set a linear model's weights."""
        self._weights = weights.copy()
        for name, weight in zip(self._names, weights.tolist(), strict=True):
            self._model._weights[name] = weight
        self._model.intercept = intercept
        optimizer = self._model.optimizer
        optimizer.n_iterations = iterations
        for name, values in state.items():
            setattr(optimizer, name, dict(zip(self._names, values.tolist(), strict=True)))


class _Rows:
    """Arrays that River sees as a frame and two series.

    Making and wrapping frames costs River more than the step itself, so there is one for each size of a micro-batch,
    made when that size first occurs, over arrays that are written anew for every step.
    """

    def __init__(self, rows: int, names: list[str]) -> None:
        self._columns = pd.Index(names, dtype=object)
        self._arrays = np.zeros((rows, len(names))), np.zeros(rows), np.zeros(rows)
        self._wrapped: dict[int, tuple[Any, Any, Any]] = {}

    def fill(self, inputs: Floats, label: Floats, weight: Floats) -> tuple[Any, Any, Any]:
        """Return River's view of these rows, valid until the next call."""
        rows = len(label)
        for target, source in zip(self._arrays, (inputs, label, weight), strict=True):
            target[:rows] = source
        if rows not in self._wrapped:
            self._wrapped[rows] = self._wrap(rows)
        return self._wrapped[rows]

    def _wrap(self, rows: int) -> tuple[Any, Any, Any]:
        inputs, label, weight = (array[:rows] for array in self._arrays)
        frame = into_frame(pd.DataFrame(inputs, columns=self._columns, copy=False))
        return frame, into_series(pd.Series(label, copy=False)), into_series(pd.Series(weight, copy=False))


def _model(settings: LinearSettings, columns: int) -> Any:
    rate = settings.learning_rate
    if rate is None:
        rate = _RATES.get(settings.optimizer, min(1.0, 8.0 / (columns + 1)))
    return linear_model.LogisticRegression(
        _optimizer(settings.optimizer, rate), loss=_LogLoss(), l2=settings.l2, intercept_lr=min(rate, 1.0)
    )


def _optimizer(name: Optimizer, rate: float) -> Any:
    match name:
        case "sgd":
            return optim.SGD(rate)
        case "adagrad":
            return optim.AdaGrad(rate)
        case "adam":
            return optim.Adam(rate)
        case "ftrl":
            return optim.FTRLProximal(alpha=rate, l2=0.0)
    raise ValueError(f"optimizer must be one of {', '.join(_STATE)}, got {name!r}")
