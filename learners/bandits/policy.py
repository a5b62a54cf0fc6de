"""Which action, with which probability: rules of choice as pure functions of expected rewards and their uncertainty.

Every rule gives the probability of every eligible action, and the choice is drawn from these numbers, so the propensity
that is logged is the probability with which the action was chosen.

    epsilon-greedy   the action of highest expected reward; several that are equal share
    linucb           the action of highest expected reward + alpha * uncertainty (Li et al. 2010)
    thompson         each with the probability that it is the best; alpha widens the beliefs
    softmax          in proportion to exp(expected reward / temperature)

Then a share of all choices is made at random: `epsilon` of them, or more where an action would else be chosen with less
than `propensity_min`. No estimate from the log has support without it, and none a bounded weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.bandits.thompson import best_probability
from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take

Rule = Literal["epsilon-greedy", "linucb", "thompson", "softmax"]

RULES: tuple[Rule, ...] = get_args(Rule)
"""In the order in which parameters count them; append only."""

EPSILON: Mapping[Rule, float] = {"epsilon-greedy": 0.1, "linucb": 0.05, "thompson": 0.0, "softmax": 0.0}
"""The share of random choices where none is set: rules without chance of their own need one."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule and its settings; those that a rule does not have are ignored by it.

    epsilon: share of choices made at random; None: the rule's own (`EPSILON`). alpha: deviations of uncertainty.
    temperature: in units of reward. propensity_min: no eligible action has less. Raises ValueError, naming the setting.
    """

    rule: Rule = "thompson"
    epsilon: float | None = None
    alpha: float = 1.0
    temperature: float = 0.1
    propensity_min: float = 0.001

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"policy: {self.rule!r} is none of {', '.join(RULES)}")
        if not 0.0 <= self.exploration <= 1.0:
            raise ValueError(f"epsilon: {self.epsilon} is not in [0, 1]")
        if not 0.0 < self.alpha <= 100.0:
            raise ValueError(f"alpha: {self.alpha} is not in (0, 100]")
        if not 1e-4 <= self.temperature <= 100.0:
            raise ValueError(f"temperature: {self.temperature} is not in [0.0001, 100]")
        if not 0.0 < self.propensity_min <= 1.0:
            raise ValueError(f"propensity_min: {self.propensity_min} is not in (0, 1]")

    @property
    def exploration(self) -> float:
        """The share of choices made at random."""
        return EPSILON[self.rule] if self.epsilon is None else self.epsilon

    def check_actions(self, actions: int) -> None:
        """Raise ValueError unless so many actions can each have `propensity_min`."""
        if self.propensity_min * actions > 1.0:
            raise ValueError(
                f"propensity_min: {actions} actions cannot all have {self.propensity_min}, at most {1.0 / actions:.4g}"
            )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the policy as named arrays, part of a model's parameters."""
        numbers = [self.exploration, self.alpha, self.temperature, self.propensity_min]
        return {"policy.rule": np.array([RULES.index(self.rule)], np.uint64), "policy.numbers": np.array(numbers)}

    @staticmethod
    def from_tensors(tensors: Tensors) -> Policy:
        """Return the policy that `tensors` described; ValueError if it is none."""
        rule = int(take(tensors, "policy.rule", np.uint64, (1,))[0])
        if rule >= len(RULES):
            raise ValueError(f"tensor 'policy.rule' is {rule}, known are the rules 0 to {len(RULES) - 1}")
        return Policy(RULES[rule], *take(tensors, "policy.numbers", np.float64, (4,)).tolist())


def probabilities(policy: Policy, expected: Floats, uncertainty: Floats, eligible: NDArray[np.bool_]) -> Floats:
    """Return the probability (rows, K) of every action: the rule among the eligible, the others 0; rows sum to 1.

    expected, uncertainty: (rows, K). Raises ValueError where no action of a row is eligible, and where so many are that
    they cannot all have `propensity_min`.
    """
    count = eligible.sum(axis=1, keepdims=True)
    if not count.all():
        raise ValueError("at least one action of every row must be eligible")
    policy.check_actions(int(count.max(initial=1)))
    match policy.rule:
        case "epsilon-greedy":
            chosen = _largest(expected, eligible)
        case "linucb":
            chosen = _largest(expected + policy.alpha * uncertainty, eligible)
        case "thompson":
            chosen = best_probability(expected, policy.alpha * uncertainty, eligible)
        case "softmax":
            chosen = _softmax(expected / policy.temperature, eligible)
    random = np.maximum(policy.exploration, count * policy.propensity_min)
    mixed: Floats = np.where(eligible, (1.0 - random) * chosen + random / count, 0.0)
    return mixed


def draw(probability: Floats, uniforms: Floats) -> NDArray[np.int64]:
    """Return the action (rows,) that a number in [0, 1) draws from the probabilities (rows, K); never one of 0."""
    reached = np.cumsum(probability, axis=1)
    # A uniform close to 1 must not be rounded up to the sum itself: no action would lie beyond it.
    at = np.minimum(uniforms * reached[:, -1], np.nextafter(reached[:, -1], 0.0))
    action: NDArray[np.int64] = np.argmax(reached > at[:, np.newaxis], axis=1).astype(np.int64)
    return action


def _largest(score: Floats, eligible: NDArray[np.bool_]) -> Floats:
    score = np.where(eligible, score, -np.inf)
    largest = score == score.max(axis=1, keepdims=True)
    share: Floats = largest / largest.sum(axis=1, keepdims=True)
    return share


def _softmax(score: Floats, eligible: NDArray[np.bool_]) -> Floats:
    score = np.where(eligible, score, -np.inf)
    power = np.exp(score - score.max(axis=1, keepdims=True))
    share: Floats = power / power.sum(axis=1, keepdims=True)
    return share
