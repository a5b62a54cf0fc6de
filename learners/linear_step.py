"""The arithmetic of logistic regression over scaled inputs, compiled: River's, in its order, on plain arrays.

Inputs are shaped numbers (see `scaling.shape_inputs`) and, for each categorical feature, a 0/1 input per bin.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.learners.compiled import FLOATS, compiled, read_only
from rheostat.learners.contract import Floats
from rheostat.learners.running_scale import count_in

_ROWS, _HASHES = read_only(types.float64, 2), read_only(types.uint64, 2)
_ARRAY, _TABLE = types.float64[::1], types.float64[:, ::1]
_INT, _FLOAT = types.int64, types.float64

CLIP_GRADIENT = 1e12
"""River's default."""


@compiled(_INT(types.uint64, _INT, _INT, _INT))
def _place(value: int, numbers: int, feature: int, bins: int) -> int:
    """Return the input that a category's hash sets to one."""
    return numbers + feature * bins + np.int64(value % np.uint64(bins))  # type: ignore[return-value]


@compiled(
    _FLOAT(
        _ROWS, _HASHES, FLOATS, FLOATS, _INT, _INT,
        _INT, _FLOAT, _FLOAT,
        _ARRAY, _ARRAY, _ARRAY, _ARRAY, _FLOAT,
        FLOATS, _FLOAT, _FLOAT,
        _TABLE, _ARRAY,
    )
)  # fmt: skip
def mean_gradient(
    shaped: Floats,
    categorical: NDArray[np.uint64],
    label: Floats,
    weight: Floats,
    start: int,
    end: int,
    bins: int,
    one: float,
    weight_max: float,
    count: Floats,
    mean: Floats,
    squares: Floats,
    factor: Floats,
    clip: float,
    weights: Floats,
    intercept: float,
    l2: float,
    inputs: Floats,
    gradient: Floats,
) -> float:
    """Count rows [start, end) into the scale; return what the log loss's mean gradient is by the intercept.

    The gradient by the weights is written to `gradient`. `inputs`: room for the rows. `one`: a shaped 1.
    """
    rows, numbers, features, columns = end - start, shaped.shape[1], categorical.shape[1], len(weights)
    for row in range(rows):
        for column in range(numbers):
            inputs[row, column] = shaped[start + row, column]
        for column in range(numbers, columns):
            inputs[row, column] = 0.0
        for feature in range(features):
            value = categorical[start + row, feature]
            if value:
                inputs[row, _place(value, numbers, feature, bins)] = one
    count_in(inputs, rows, count, mean, squares, factor, clip)
    gradient[:] = 0.0
    of_intercept = 0.0
    for row in range(rows):
        logit = intercept
        for column in range(columns):
            logit += inputs[row, column] * weights[column]
        share = weight[start + row] if weight[start + row] < weight_max else weight_max
        pull = ((np.tanh(logit * 0.5) + 1.0) * 0.5 - label[start + row]) * share
        pull = CLIP_GRADIENT if pull > CLIP_GRADIENT else pull
        pull = -CLIP_GRADIENT if pull < -CLIP_GRADIENT else pull
        of_intercept += pull
        for column in range(columns):
            gradient[column] += inputs[row, column] * pull
    for column in range(columns):
        gradient[column] = gradient[column] / rows + l2 * weights[column]
    return of_intercept / rows


@compiled(_FLOAT(FLOATS))
def largest(numbers: Floats) -> float:
    """Return the largest magnitude, infinite where one is NaN."""
    found = 0.0
    for number in numbers:
        magnitude = abs(number)
        if not magnitude <= found:
            found = magnitude if magnitude == magnitude else np.inf
    return found


@compiled(
    types.Tuple((_FLOAT, _INT))(  # type: ignore[no-untyped-call]
        _ROWS, _HASHES, FLOATS, FLOATS, _INT,
        _INT, _FLOAT, _FLOAT,
        _ARRAY, _ARRAY, _ARRAY, _ARRAY, _FLOAT,
        _ARRAY, _FLOAT, _FLOAT,
        _TABLE, _ARRAY,
        _FLOAT, _FLOAT, _FLOAT,
    )
)  # fmt: skip
def sgd_steps(
    shaped: Floats,
    categorical: NDArray[np.uint64],
    label: Floats,
    weight: Floats,
    step_rows: int,
    bins: int,
    one: float,
    weight_max: float,
    count: Floats,
    mean: Floats,
    squares: Floats,
    factor: Floats,
    clip: float,
    weights: Floats,
    intercept: float,
    l2: float,
    inputs: Floats,
    gradient: Floats,
    rate: float,
    intercept_rate: float,
    parameter_max: float,
) -> tuple[float, int]:
    """Make a step of `optim.SGD(rate)` for every `step_rows` rows, and one for what is left; `weights` are moved.

    Returns the intercept, and how many steps were undone as a parameter was above `parameter_max` or not finite.
    """
    undone = 0
    before = np.zeros(len(weights))
    for start in range(0, len(shaped), step_rows):
        before[:] = weights
        of_intercept = mean_gradient(
            shaped, categorical, label, weight, start, min(start + step_rows, len(shaped)), bins, one, weight_max,
            count, mean, squares, factor, clip, weights, intercept, l2, inputs, gradient,
        )  # fmt: skip
        for column in range(len(weights)):
            weights[column] -= rate * gradient[column]
        moved = intercept - intercept_rate * of_intercept
        if abs(moved) <= parameter_max and largest(weights) <= parameter_max:
            intercept = moved
        else:
            weights[:] = before
            undone += 1
    return intercept, undone


@compiled(types.void(_ROWS, _HASHES, _INT, _FLOAT, FLOATS, FLOATS, _FLOAT, FLOATS, _FLOAT, _ARRAY))
def logits(
    shaped: Floats,
    categorical: NDArray[np.uint64],
    bins: int,
    one: float,
    mean: Floats,
    factor: Floats,
    clip: float,
    weights: Floats,
    intercept: float,
    found: Floats,
) -> None:
    """Write the logit of every row to `found`."""
    numbers, features, columns = shaped.shape[1], categorical.shape[1], len(weights)
    without, gain = intercept, np.zeros(columns)
    for column in range(numbers, columns):
        absent = max(min(-mean[column] * factor[column], clip), -clip)
        present = max(min((one - mean[column]) * factor[column], clip), -clip)
        without += absent * weights[column]
        gain[column] = (present - absent) * weights[column]
    for row in range(len(shaped)):
        logit = without
        for column in range(numbers):
            z = (shaped[row, column] - mean[column]) * factor[column]
            z = clip if z > clip else z
            z = -clip if z < -clip else z
            logit += z * weights[column]
        for feature in range(features):
            value = categorical[row, feature]
            if value:
                logit += gain[_place(value, numbers, feature, bins)]
        found[row] = logit
