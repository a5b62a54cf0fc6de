"""Parts of logistic regression: the 0/1 inputs of categories, and the curve from a sum to a probability."""

from __future__ import annotations

import math

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema, Floats


def linear_columns(schema: FeatureSchema, bins: int) -> int:
    """Return how many inputs a linear model of this schema has."""
    return len(schema.numeric) + len(schema.categorical) * bins


def one_hot(batch: Batch, bins: int) -> Floats:
    """Return the numeric features and, after them, a 0/1 input per bin of each categorical one."""
    if not batch.categorical.shape[1]:
        return batch.numeric
    rows, categories = batch.categorical.shape
    ones = np.zeros((rows, categories * bins))
    row, column = np.nonzero(batch.categorical)
    ones[row, column * bins + (batch.categorical[row, column] % np.uint64(bins)).astype(np.int64)] = 1.0
    return np.concatenate([batch.numeric, ones], axis=1)


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow: (1 + tanh(x / 2)) / 2."""
    result = np.tanh(logits * 0.5)
    result += 1.0
    result *= 0.5
    return result


def sigmoid_one(logit: float) -> float:
    """Return the same of one number."""
    return (math.tanh(logit * 0.5) + 1.0) * 0.5
