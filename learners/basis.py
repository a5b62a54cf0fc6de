"""A fixed set of functions of a row's features, so that a model that is linear in them can bend and cross features.

Nothing here is learned: what is found about the features (their scale, the log-odds of categories) comes in with the
row, and the functions stay what they are, so what was learned about each of them stays true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema, Floats, Tensors
from rheostat.learners.layout import take

INPUTS_MAX = 256
"""Numbers and log-odds a basis can take: the cost of learning grows with the square of its columns."""

ROOM = 128
"""Columns for the steps of all numbers together, and as many for the bins of all categories together."""

WIDTH = 2.0
"""Steps lie evenly between this many standard deviations below the mean and as many above."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Columns of a row, in this order: 1; its inputs; steps; waves; bins.

    Inputs: scaled numbers and, after them, log-odds of categories. Steps: 1 where a number is above an edge, for every
    number and edge. Waves: cosines along random directions, the random Fourier features of Rahimi and Recht (2007):
    together they describe any smooth function of the inputs. Bins: 1 where a category's hash falls into a bin.

    waves: float64 (inputs, W). phases: float64 (W,). edges: float64 (E,). amplitude: of all waves together.
    """

    numbers: int
    categories: int
    waves: Floats
    phases: Floats
    edges: Floats
    amplitude: float
    bins: int

    @property
    def columns(self) -> int:
        """How many columns a row has."""
        steps, bins = self.numbers * len(self.edges), self.categories * self.bins
        return 1 + len(self.waves) + steps + len(self.phases) + bins

    def apply(self, scaled: Floats, odds: Floats, categorical: NDArray[np.uint64]) -> Floats:
        """Return the columns (rows, columns) of scaled numbers, log-odds and hashes, each (rows, its own number)."""
        rows = len(scaled)
        result = np.empty((rows, self.columns))
        steps = 1 + len(self.waves)
        waves = steps + self.numbers * len(self.edges)
        bins = waves + len(self.phases)
        result[:, 0] = 1.0
        inputs = result[:, 1:steps]
        inputs[:, : self.numbers], inputs[:, self.numbers :] = scaled, odds
        result[:, steps:waves] = (scaled[:, :, None] > self.edges).reshape(rows, waves - steps)
        result[:, waves:bins] = self._waves(inputs)
        self._fill_bins(result[:, bins:], categorical)
        return result

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the basis as named arrays, part of a model's parameters."""
        return {
            "basis.waves": self.waves.copy(),
            "basis.phases": self.phases.copy(),
            "basis.edges": self.edges.copy(),
            "basis.options": np.array([self.amplitude, float(self.bins)]),
        }

    @staticmethod
    def from_tensors(tensors: Tensors, schema: FeatureSchema, inputs: int) -> Basis:
        """Return the basis that `tensors` described; ValueError if it does not fit schema and inputs."""
        phases, edges = (_vector(tensors, f"basis.{name}") for name in ("phases", "edges"))
        waves = take(tensors, "basis.waves", np.float64, (inputs, len(phases)))
        amplitude, bins = take(tensors, "basis.options", np.float64, (2,)).tolist()
        if not (0.0 <= bins <= ROOM and bins == int(bins)):
            raise ValueError(f"tensor 'basis.options': bins must be a whole number in [0, {ROOM}], is {bins}")
        numbers, categories = len(schema.numeric), len(schema.categorical)
        return Basis(numbers, categories, waves, phases, edges, amplitude, int(bins))

    def _waves(self, inputs: Floats) -> NDArray[np.float32]:
        angles = inputs @ self.waves
        angles += self.phases
        # In single precision numpy takes a sixth of the time, and the angles are below a thousand.
        waves: NDArray[np.float32] = np.cos(angles.astype(np.float32))
        waves *= np.float32(self.amplitude * (2.0 / max(len(self.phases), 1)) ** 0.5)
        return waves

    def _fill_bins(self, target: Floats, categorical: NDArray[np.uint64]) -> None:
        target[:] = 0.0
        if self.bins:
            row, column = np.nonzero(categorical)
            place = (categorical[row, column] % np.uint64(self.bins)).astype(np.int64)
            target[row, column * self.bins + place] = 1.0


def make_basis(
    schema: FeatureSchema,
    inputs: int,
    *,
    steps: int,
    waves: int,
    bins: int,
    lengths: Sequence[float],
    mixed: int,
    amplitude: float,
    seed: int,
) -> Basis:
    """Return the basis for a schema, with up to `steps` for each number and `bins` for each category, as `ROOM` allows.

    Each of the waves runs along a random direction through up to `mixed` random inputs; its frequency is a normal one
    times one of `lengths` in turn, so that there are broad and narrow ones. Raises ValueError above `INPUTS_MAX`.
    """
    if inputs > INPUTS_MAX:
        raise ValueError(f"{inputs} numbers and log-odds, this learner takes at most {INPUTS_MAX}")
    random = np.random.default_rng(seed)
    numbers, categories = len(schema.numeric), len(schema.categorical)
    waves = waves if inputs else 0
    directions = random.normal(size=(inputs, waves))
    taken = min(mixed, inputs)
    left_out = random.permuted(np.tile(np.arange(inputs)[:, None], waves), axis=0) >= taken
    directions[left_out] = 0.0
    directions *= np.resize(np.asarray(lengths), waves) / max(taken, 1) ** 0.5
    phases = random.uniform(0.0, 2.0 * np.pi, waves)
    edges = _edges(min(steps, ROOM // max(numbers, 1)))
    return Basis(numbers, categories, directions, phases, edges, amplitude, min(bins, ROOM // max(categories, 1)))


def _edges(count: int) -> Floats:
    """Return the middles of so many equal parts of the width."""
    middles: Floats = np.arange(count) + np.float64(0.5)
    return middles * (2.0 * WIDTH / max(count, 1)) - WIDTH


def _vector(tensors: Tensors, name: str) -> Floats:
    found = tensors.get(name)
    if found is None:
        raise ValueError(f"tensor {name!r} is missing")
    return take(tensors, name, np.float64, (found.size,))
