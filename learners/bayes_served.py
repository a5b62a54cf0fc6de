"""Scoring with a logistic regression over a basis, in numpy: what `BayesLogistic` is where it is served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rheostat.learners.basis import Basis
from rheostat.learners.category_odds import CategoryOdds
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import take
from rheostat.learners.logistic import sigmoid
from rheostat.learners.scaling import Scale

BAYES_LOGISTIC = "bayes-logistic/1"


@dataclass(frozen=True, slots=True)
class BayesPredictor:
    """Logistic regression over functions of scaled numbers and of the log-odds of categories; weights (columns,)."""

    schema: FeatureSchema
    scale: Scale
    odds: CategoryOdds
    basis: Basis
    weights: Floats

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        check_batch(self.schema, batch)
        odds = self.odds.log_odds(self.odds.places(batch.categorical))
        columns = self.basis.apply(self.scale.apply(batch.numeric), odds, batch.categorical)
        return sigmoid(columns @ self.weights)


def bayes_predictor(schema: FeatureSchema, tensors: Tensors) -> BayesPredictor:
    """Return a predictor of kind bayes-logistic/1 on these very arrays; ValueError if they do not fit."""
    odds = CategoryOdds.from_tensors(tensors, schema)
    inputs = len(schema.numeric) + len(schema.categorical) + len(odds.pairs)
    basis = Basis.from_tensors(tensors, schema, inputs)
    weights = take(tensors, "weights", np.float64, (basis.columns,))
    return BayesPredictor(schema, Scale.from_tensors(tensors, len(schema.numeric)), odds, basis, weights)
