"""The inputs of a linear model of rewards: a constant, the numbers by their signed logarithm, bins of categories.

They are the same for every row at all times: no running scale, so sums over rows keep their meaning (see `evidence`).
"""

from __future__ import annotations

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import check_batch
from rheostat.learners.logistic import linear_columns, one_hot
from rheostat.learners.scaling import shape_inputs


def input_columns(schema: FeatureSchema, bins: int) -> int:
    """Return how many inputs a row of this schema has: P."""
    return 1 + linear_columns(schema, bins)


def model_inputs(schema: FeatureSchema, batch: Batch, bins: int) -> Floats:
    """Return a new array (rows, P): 1, the numbers' signed logarithms, a 0/1 input per bin of each category.

    Raises ValueError for a batch of another schema.
    """
    check_batch(schema, batch)
    given = one_hot(batch, bins)
    inputs = np.empty((len(batch), 1 + given.shape[1]))
    numbers = slice(1, 1 + len(schema.numeric))
    inputs[:, 0] = 1.0
    inputs[:, numbers] = shape_inputs(batch.numeric, signed_log=True)
    inputs[:, numbers.stop :] = given[:, len(schema.numeric) :]
    return inputs
