"""What rules of choice are worth: regret against a simulated crowd, and an estimate from a real log of choices.

In both a model chooses, or is judged, as it would be served: by parameters that were published before, never by rows
that it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rheostat.learners.bandits.linear import BanditSettings, LinearBandit
from rheostat.learners.bandits.policy import RULES, Policy
from rheostat.learners.bandits.served import BanditPredictor, bandit_predictor
from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.features import select
from rheostat.learners.importance import Moments
from rheostat.streams.bench.simulated_choices import SCHEMA, SimulatedChoices

POLICIES: Mapping[str, Policy] = {
    "uniform": Policy("epsilon-greedy", 1.0),
    "greedy": Policy("epsilon-greedy", 0.0, propensity_min=1e-9),
    **{rule: Policy(rule) for rule in RULES},
}
"""What is compared: every rule with the settings it has by default, choosing at random, and never doing so.

Where visitors differ, greedy choices may vary enough to learn from (Bastani, Bayati and Khosravi 2021); what they leave
is a log that supports no estimate of anything else.
"""

ROUND_ROWS = 50
"""How many choices are made by one version: feedback comes late."""

LOG_ROWS = 250
LEVEL = 0.95

Progress = Callable[[float], None]


def bench_bandits(rounds: int, seeds: int, log: tuple[FeatureSchema, Batch] | None, progress: Progress) -> Any:
    """Return the regret of every policy, and what it would have earned on a log, where there is one."""
    steps, done = len(POLICIES) * (seeds + (log is not None)), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done / steps)

    regrets: dict[str, list[float]] = {}
    for name, policy in POLICIES.items():
        for seed in range(seeds):
            regrets.setdefault(name, []).append(simulated_regret(policy, seed, rounds))
            step()
    found: dict[str, Any] = {"simulated": _summary(regrets, rounds)}
    if log is not None:
        found["log"] = {"rows": len(log[1]), "clicks": int(log[1].label.sum()), "level": LEVEL, "policies": {}}
        for name, policy in POLICIES.items():
            found["log"]["policies"][name] = value_on_log(policy, *log)
            step()
    return found


def simulated_regret(policy: Policy, seed: int, rounds: int) -> float:
    """Return the mean regret a choice: the chance of the best action less that of the one chosen, by the known rule."""
    crowd, learner, regret = SimulatedChoices(seed), LinearBandit(SCHEMA, policy), 0.0
    draws = np.random.default_rng((seed, 1))
    for _ in range(rounds):
        visitors, chance = crowd.visitors(ROUND_ROWS)
        choice = _served(learner).choose(visitors, draws.random(ROUND_ROWS))
        regret += float((chance.max(axis=1) - chance[np.arange(ROUND_ROWS), choice.action]).mean())
        learner.learn(crowd.rewarded(visitors, chance, choice.action, choice.propensity))
        learner.flush()
    return regret / rounds


def value_on_log(policy: Policy, schema: FeatureSchema, log: Batch) -> dict[str, Any]:
    """Return what the policy would have earned on a log of choices with propensities, by importance weights (SNIPS).

    Each block of rows is judged by the model learned from the blocks before, then learned; the value is that of all
    these models together. The interval holds at `LEVEL` for independent rows, few rewards and large weights included
    (`importance.Moments`), so with few rewards it is wide. `differs_from_log`: whether it excludes what the log earned.
    """
    assert log.context is not None
    learner = LinearBandit(schema, policy, BanditSettings(categorical_bins=8))
    moments = Moments()
    for start in range(0, len(log), LOG_ROWS):
        rows = select(log, slice(start, start + LOG_ROWS))
        assert rows.context is not None
        probability = _served(learner).probabilities(rows)[np.arange(len(rows)), rows.context.action]
        moments += Moments.of(probability / rows.context.propensity, rows.label)
        learner.learn(rows)
        learner.flush()
    interval = moments.interval(LEVEL)
    assert interval is not None
    return {
        "reward": moments.mean,
        "interval": [interval.low, interval.high],
        "effective_rows": round(moments.effective_rows, 1),
        "weight_max": round(moments.weight_max, 2),
        "differs_from_log": not interval.covers(float(log.label.mean())),
    }


def _served(learner: LinearBandit) -> BanditPredictor:
    return bandit_predictor(learner.schema, learner.parameters())


def _summary(regrets: Mapping[str, list[float]], rounds: int) -> dict[str, Any]:
    uniform = np.array(regrets["uniform"])
    policies = {}
    for name, found in regrets.items():
        share = np.array(found) / uniform
        policies[name] = {
            "regret": round(float(np.mean(found)), 4),
            "share_of_uniform": round(float(share.mean()), 3),
            "share_of_uniform_min_max": [round(float(share.min()), 3), round(float(share.max()), 3)],
        }
    return {
        "choices": rounds * ROUND_ROWS,
        "seeds": len(uniform),
        "choices_a_version": ROUND_ROWS,
        "policies": policies,
    }
