"""A simulated crowd to choose for: what pays depends on who it is, by a rule that is known, so regret is known, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import batch_from_columns, no_context
from rheostat.learners.logistic import sigmoid

SCHEMA = FeatureSchema(
    "simulated-choices@1", ("a", "b", "c", "d"), ("device",), ("first", "second", "third", "fourth", "fifth")
)
_DEVICES = ("phone", "tablet", "desktop")


class SimulatedChoices:
    """Visitors whose chance to be content follows a logistic rule, another for each action; drawn from `seed`.

    The learner's model is a line, the rule is not: regret does not go to 0, as it would not outside.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        actions, numbers = len(SCHEMA.actions), len(SCHEMA.numeric)
        self._of_numbers = self._random.normal(0.0, 0.7, (actions, numbers))
        self._of_devices = self._random.normal(0.0, 0.7, (actions, len(_DEVICES)))

    def visitors(self, rows: int) -> tuple[Batch, Floats]:
        """Return the next visitors, and the chance (rows, actions) of each action to content them."""
        numeric = self._random.normal(size=(rows, len(SCHEMA.numeric)))
        device = self._random.integers(0, len(_DEVICES), rows)
        chance = sigmoid(numeric @ self._of_numbers.T + self._of_devices[:, device].T - 1.0)
        return batch_from_columns(SCHEMA, numeric, [[_DEVICES[each] for each in device]]), chance

    def rewarded(self, visitors: Batch, chance: Floats, action: NDArray[np.int64], propensity: Floats) -> Batch:
        """Return the visitors with what was chosen for them, and whether it contented them."""
        rows = len(visitors)
        content = self._random.random(rows) < chance[np.arange(rows), action]
        context = replace(no_context(rows), action=action, propensity=propensity)
        return replace(visitors, label=content.astype(np.float64), context=context)
