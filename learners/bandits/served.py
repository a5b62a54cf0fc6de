"""Choosing and scoring with learned parameters, in numpy: what a server runs, and what the learner itself uses.

Parameters of kind linear-bandit/1 (float64 unless said otherwise), for a schema with N numeric and C categorical
features and K actions, P = 1 + N + C * bins:

    bins u64 (1)   centre, factor (N)   base (1)   mean (K, P)   root (K, P (P + 1) / 2)
    policy.rule u64 (1)   policy.numbers (4): epsilon, alpha, temperature, propensity_min
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.bandits.choosing import Choice
from rheostat.learners.bandits.inputs import input_columns, model_inputs
from rheostat.learners.bandits.policy import Policy, draw, probabilities
from rheostat.learners.bandits.posterior import Posterior
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Tensors
from rheostat.learners.layout import take

LINEAR_BANDIT = "linear-bandit/1"

ACTIONS_MAX = 256
NUMBERS_MAX = 1 << 22
"""The most numbers that the beliefs may take, K * P * P: 32 MB."""


class BanditPredictor:
    """The beliefs about the rewards of K actions, and the policy that chooses by them."""

    def __init__(self, schema: FeatureSchema, bins: int, posterior: Posterior, policy: Policy) -> None:
        self._schema = schema
        self._bins = bins
        self._posterior = posterior
        self._policy = policy

    def predict(self, batch: Batch) -> Floats:
        """Return the expected reward (rows,) in [0, 1] of the action in the batch's context; of the best without."""
        rewards = self.choices(batch)
        best: Floats = rewards.max(axis=1)
        if batch.context is None:
            return best
        action = batch.context.action
        known = action >= 0
        taken: Floats = rewards[np.arange(len(batch)), np.where(known, action, 0)]
        return np.where(known, taken, best)

    def choices(self, batch: Batch) -> Floats:
        """Return the expected reward (rows, K) of every action, in [0, 1]."""
        return np.clip(self._posterior.expected(self._standardised(batch)), 0.0, 1.0)

    def uncertainty(self, batch: Batch) -> Floats:
        """Return the standard deviation (rows, K) of the expected reward of every action."""
        return self._posterior.uncertainty(self._standardised(batch))

    def probabilities(self, batch: Batch, eligible: NDArray[np.bool_] | None = None) -> Floats:
        """Return the probability (rows, K) with which the policy chooses each action; `eligible` as for `choose`."""
        return self._weighed(batch, eligible)[0]

    def choose(self, batch: Batch, uniforms: Floats, eligible: NDArray[np.bool_] | None = None) -> Choice:
        """Choose an action for each row, see `choosing.Chooser`; ValueError for a row without eligible action."""
        probability, expected = self._weighed(batch, eligible)
        action = draw(probability, uniforms)
        rows = np.arange(len(batch))
        propensity = np.minimum(probability[rows, action], 1.0)
        return Choice(action, propensity, np.clip(expected[rows, action], 0.0, 1.0))

    def _weighed(self, batch: Batch, eligible: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
        inputs = self._standardised(batch)
        expected = self._posterior.expected(inputs)
        if eligible is None:
            eligible = np.ones(expected.shape, np.bool_)
        return probabilities(self._policy, expected, self._posterior.uncertainty(inputs), eligible), expected

    def _standardised(self, batch: Batch) -> Floats:
        return self._posterior.standard.apply(model_inputs(self._schema, batch, self._bins))


def check_size(schema: FeatureSchema, bins: int) -> None:
    """Raise ValueError unless there are actions, not too many, and not too many inputs for them."""
    if not 1 <= len(schema.actions) <= ACTIONS_MAX:
        raise ValueError(f"feature set {schema.id!r} has {len(schema.actions)} actions, expected 1 to {ACTIONS_MAX}")
    columns = input_columns(schema, bins)
    if len(schema.actions) * columns**2 > NUMBERS_MAX:
        raise ValueError(
            f"feature set {schema.id!r}: {len(schema.actions)} actions with {columns} inputs each need more than "
            f"{NUMBERS_MAX} numbers; have fewer features, actions, or bins"
        )


def bandit_predictor(schema: FeatureSchema, tensors: Tensors) -> BanditPredictor:
    """Return a predictor of kind linear-bandit/1 on these arrays; ValueError if they do not fit the schema."""
    bins = int(take(tensors, "bins", np.uint64, (1,))[0])
    if not 1 <= bins <= NUMBERS_MAX:
        raise ValueError(f"tensor 'bins' must be in [1, {NUMBERS_MAX}], is {bins}")
    check_size(schema, bins)
    policy = Policy.from_tensors(tensors)
    policy.check_actions(len(schema.actions))
    columns = input_columns(schema, bins)
    posterior = Posterior.from_tensors(tensors, len(schema.numeric), len(schema.actions), columns)
    return BanditPredictor(schema, bins, posterior, policy)
