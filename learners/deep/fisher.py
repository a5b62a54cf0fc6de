"""How much a network's probabilities depend on each of its parameters, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch
from rheostat.learners.logistic import sigmoid
from rheostat.learners.mlp import Network, rows_of


def fisher_diagonal(network: Network, batch: Batch) -> dict[str, NDArray[np.floating]]:
    """Return the diagonal of the Fisher information of a network with one output, see `anchor.KnowsFisher`.

    Two categories of one row that share a row of the table count as two: their product is left out.
    """
    weight, output, columns = network.hidden_weight, network.output_weight, batch.numeric.shape[1]
    inputs = network.inputs(batch.numeric, batch.categorical)
    before = inputs @ weight + network.hidden_bias
    active = (before > 0.0) * output
    scores = sigmoid((np.maximum(before, 0.0) @ output + network.output_bias).astype(np.float64))
    variance = (scores * (1.0 - scores) / len(batch)).astype(np.float32)[:, None]
    into_table = variance * np.square(active @ weight[columns:].T)
    of_table = np.zeros_like(network.table)
    present = batch.categorical != 0
    rows = rows_of(batch.categorical, len(of_table), network.keys)[present]
    np.add.at(of_table, rows, into_table.reshape(*batch.categorical.shape, of_table.shape[1])[present])
    return {
        "table": of_table,
        "hidden.weight": np.square(inputs).T @ (variance * np.square(active)),
        "hidden.bias": (variance * np.square(active)).sum(axis=0),
        "output.weight": (variance * np.square(np.maximum(before, 0.0))).sum(axis=0),
        "output.bias": variance.sum(axis=0),
    }
