"""Rules of choice beat chance by a clear margin, and estimates from logs find values that are known."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from rheostat.learners.bandits.policy import RULES, Policy, Rule, draw
from rheostat.learners.contract import Batch
from rheostat.streams.bench.bandits import POLICIES, bench_bandits, simulated_regret, value_on_log
from rheostat.streams.bench.open_bandit import FEATURES, read_log
from rheostat.streams.bench.simulated_choices import SCHEMA, SimulatedChoices
from rheostat.streams.errors import ConfigError

UNIFORM = POLICIES["uniform"]


@pytest.mark.parametrize("rule", ["linucb", "thompson"])
def test_regret_is_far_below_that_of_chance(rule: Rule) -> None:
    assert simulated_regret(Policy(rule), 7, 30) < 0.5 * simulated_regret(UNIFORM, 7, 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "share_max"), [("epsilon-greedy", 0.3), ("linucb", 0.2), ("thompson", 0.22), ("softmax", 0.35)]
)
def test_regret_is_a_fraction_of_that_of_chance_for_every_crowd(rule: Rule, share_max: float) -> None:
    for seed in range(10, 13):
        assert simulated_regret(Policy(rule), seed, 100) < share_max * simulated_regret(UNIFORM, seed, 100)


def logged(rows: int, seed: int) -> tuple[Batch, float]:
    """A log of choices that favour the first action, and what choosing at random would have earned."""
    crowd = SimulatedChoices(seed)
    visitors, chance = crowd.visitors(rows)
    propensity = np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    action = draw(np.tile(propensity, (rows, 1)), np.random.default_rng(seed).random(rows))
    return crowd.rewarded(visitors, chance, action, propensity[action]), float(chance.mean())


def test_a_log_tells_what_another_rule_would_have_earned() -> None:
    """Choosing at random has a known value; the interval covers it 95 times of 100 at least, and it is wide."""
    covered, told = 0, []
    for seed in range(20):
        log, value = logged(2_000, seed)
        found = value_on_log(UNIFORM, SCHEMA, log)
        low, high = found["interval"]
        covered += low <= value <= high
        told.append(found["reward"] - value)
        assert found["weight_max"] == 2.0
        assert 1_000 < found["effective_rows"] < 1_500
    # Fewer than 16 of 20 has probability 3e-4 at a coverage of 95 %; the true one is above 99 %.
    assert covered >= 16
    assert abs(np.mean(told)) < 0.02


def test_a_rule_that_learns_is_found_to_earn_more_than_the_log() -> None:
    log, _ = logged(4_000, 3)
    found = value_on_log(Policy("linucb"), SCHEMA, log)
    assert found["reward"] > float(log.label.mean()) + 0.1
    assert found["differs_from_log"]


def test_the_measurement_names_every_rule_and_what_it_stands_on() -> None:
    steps: list[float] = []
    found = bench_bandits(2, 2, (SCHEMA, logged(500, 1)[0]), steps.append)
    assert [*found["simulated"]["policies"]] == ["uniform", "greedy", *RULES] == [*found["log"]["policies"]]
    assert found["simulated"]["policies"]["uniform"]["share_of_uniform"] == 1.0
    assert (found["simulated"]["choices"], found["log"]["rows"], steps[-1]) == (100, 500, 1.0)


def test_the_open_bandit_log_is_read_as_choices(tmp_path: Path) -> None:
    head = ",".join(["", "item_id", "click", "propensity_score", *FEATURES])
    text = f"{head}\n0,14,0,0.5,3,a,b,c,d\n1,2,1,0.25,1,a,b,c,e\n"
    packed = tmp_path / "men.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    plain = tmp_path / "men.csv"
    plain.write_text(text)
    for file in (packed, plain):
        schema, log = read_log(file)
        assert schema.actions == ("item-2", "item-14")
        assert log.context is not None
        assert (log.context.action.tolist(), log.context.propensity.tolist()) == ([1, 0], [0.5, 0.25])
        assert log.label.tolist() == [0.0, 1.0]
    plain.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="no column 'position'"):
        read_log(plain)
    with pytest.raises(ConfigError, match="cannot read"):
        read_log(tmp_path / "none.csv")
