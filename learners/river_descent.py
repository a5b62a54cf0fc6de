"""River's optimisers on arrays of weights, with their state as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from river import optim

from rheostat.learners.contract import Floats
from rheostat.learners.linear_step import largest

Optimizer = Literal["sgd", "adagrad", "adam", "ftrl"]

STATE: Mapping[str, tuple[str, ...]] = {"sgd": (), "adagrad": ("g2",), "adam": ("m", "v"), "ftrl": ("z", "n")}
"""What each optimiser keeps for every weight, by River's names."""

_ON_ARRAYS = ("sgd", "adam")
"""Those that River lets step on arrays; the others step on dictionaries, weight by weight."""


class Mark(NamedTuple):
    """Where a descent stood."""

    weights: Floats
    iterations: int
    state: Mapping[str, Any]


class Descent:
    """Weights, and the optimiser of River that moves them; `weights` are moved in their place."""

    def __init__(self, name: Optimizer, rate: float, columns: int) -> None:
        self.weights: Floats = np.zeros(columns)
        self.rate = rate
        self._names = STATE.get(name, ())
        self._on_arrays = name in _ON_ARRAYS
        self._optimizer = _optimizer(name, rate)
        self.put(self.weights, 0, {each: np.zeros(columns) for each in self._names})

    @property
    def iterations(self) -> int:
        """How many steps River counts."""
        return int(self._optimizer.n_iterations)

    @iterations.setter
    def iterations(self, made: int) -> None:
        self._optimizer.n_iterations = made

    def step(self, gradient: Floats) -> None:
        """Make a step of River's."""
        if self._on_arrays:
            self._optimizer.step(self.weights, gradient)
            return
        moved = dict(enumerate(self.weights.tolist()))
        self._optimizer.step(moved, dict(enumerate(gradient)))
        self.weights[:] = list(moved.values())

    def state(self) -> dict[str, Floats]:
        """Return copies of what the optimiser keeps for every weight."""
        return {name: self._array(getattr(self._optimizer, name)) for name in self._names}

    def put(self, weights: Floats, iterations: int, state: Mapping[str, Floats]) -> None:
        """Take over weights and, where it is given, the optimiser's state."""
        self.weights[:] = weights
        self.iterations = iterations
        for name, values in state.items():
            setattr(self._optimizer, name, values.copy() if self._on_arrays else dict(enumerate(values.tolist())))

    def sound(self, largest_allowed: float) -> bool:
        """Whether no weight is larger than that, and everything is finite."""
        return largest(self.weights) <= largest_allowed and all(
            np.isfinite(each).all() for each in self.state().values()
        )

    def mark(self) -> Mark:
        """Return where it stands."""
        state = {name: getattr(self._optimizer, name).copy() for name in self._names}
        return Mark(self.weights.copy(), self.iterations, state)

    def back_to(self, mark: Mark) -> None:
        """Undo what came after a mark."""
        self.weights[:] = mark.weights
        self.iterations = mark.iterations
        for name, values in mark.state.items():
            setattr(self._optimizer, name, values)

    def _array(self, values: Any) -> Floats:
        return values.copy() if self._on_arrays else np.array(list(values.values()), np.float64)


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
    raise ValueError(f"optimizer must be one of {', '.join(STATE)}, got {name!r}")
