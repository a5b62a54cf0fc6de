"""A learner that only counts, so that it can take back exactly: for laws about revisions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.predictors import LINEAR, predictor
from tests.support.examples import SCHEMA

BINS = 8


class CountingLearner:
    """Sums of weight and of weight times label by category; sums of halves are exact, in any order."""

    kind = LINEAR

    def __init__(self) -> None:
        self.sums = np.zeros((2, BINS))

    @property
    def schema(self) -> FeatureSchema:
        return SCHEMA

    def learn(self, batch: Batch) -> None:
        self._add(batch, 1.0)

    def unlearn(self, batch: Batch) -> None:
        self._add(batch, -1.0)

    def flush(self) -> None:
        pass

    def predict(self, batch: Batch) -> Floats:
        return predictor(LINEAR, SCHEMA, self.parameters()).predict(batch)

    def parameters(self) -> Tensors:
        mass, positive = self.sums
        weights = np.concatenate([np.zeros(2), np.log1p(positive) - np.log1p(mass - positive)])
        return {
            "bins": np.array([BINS], np.uint64),
            "weights": weights,
            "intercept": np.array([mass.sum()]),
            "scale.mean": np.zeros(len(weights)),
            "scale.factor": np.ones(len(weights)),
            "scale.options": np.array([0.0, 5.0]),
        }

    def snapshot(self) -> Snapshot:
        return Snapshot(self.kind, SCHEMA.id, {"sums": self.sums.copy()})

    def restore(self, snapshot: Snapshot) -> None:
        self.sums = np.array(snapshot.tensors["sums"], np.float64)

    def _add(self, batch: Batch, sign: float) -> None:
        bins = self._bins(batch)
        np.add.at(self.sums[0], bins, sign * batch.weight)
        np.add.at(self.sums[1], bins, sign * batch.weight * batch.label)

    def _bins(self, batch: Batch) -> NDArray[np.int64]:
        return (batch.categorical[:, 0] % np.uint64(BINS)).astype(np.int64)
