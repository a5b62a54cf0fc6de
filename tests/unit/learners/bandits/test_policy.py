"""Probabilities of choice: they are what is drawn from, they sum to 1, and no eligible action has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.learners.bandits.choosing import uniforms_of
from rheostat.learners.bandits.normal import normal_cdf
from rheostat.learners.bandits.policy import RULES, Policy, Rule, draw, probabilities
from rheostat.learners.bandits.thompson import best_probability
from rheostat.learners.contract import Floats
from tests.unit.learners.support import ANY_SPEED

CHI_SQUARE_MAX = 27.63
"""Quantile 1 - 1e-6 of chi-square with 2 degrees of freedom: so rarely a right frequency fails."""


def all_of(shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.ones(shape, np.bool_)


def beliefs(rows: int, actions: int, seed: int) -> tuple[Floats, Floats]:
    """Expected rewards, and deviations that differ by up to a thousand times."""
    random = np.random.default_rng(seed)
    return random.normal(0.3, 0.2, (rows, actions)), 10.0 ** random.uniform(-3.5, -0.5, (rows, actions))


@ANY_SPEED
@given(
    st.sampled_from(RULES),
    st.integers(1, 12),
    st.one_of(st.none(), st.floats(0.0, 1.0)),
    st.floats(1e-4, 0.08),
    st.integers(0, 10**6),
)
def test_probabilities_sum_to_one_and_keep_the_floor(
    rule: Rule, actions: int, epsilon: float | None, floor: float, seed: int
) -> None:
    expected, uncertainty = beliefs(20, actions, seed)
    eligible = np.random.default_rng(seed).random((20, actions)) < 0.6
    eligible[np.arange(20), np.arange(20) % actions] = True
    found = probabilities(Policy(rule, epsilon, propensity_min=floor), expected, uncertainty, eligible)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    assert (found[~eligible] == 0.0).all()
    assert (found[eligible] >= floor * (1.0 - 1e-12)).all()


@pytest.mark.parametrize("rule", RULES)
def test_an_action_that_is_not_eligible_is_as_if_it_did_not_exist(rule: Rule) -> None:
    expected, uncertainty = beliefs(50, 4, 1)
    eligible = all_of((50, 4))
    eligible[:, 2] = False
    kept = [0, 1, 3]
    policy = Policy(rule)
    found = probabilities(policy, expected, uncertainty, eligible)
    alone = probabilities(policy, expected[:, kept], uncertainty[:, kept], all_of((50, 3)))
    np.testing.assert_allclose(found[:, kept], alone, atol=2e-3)


def test_epsilon_greedy_linucb_and_softmax_are_their_formulas() -> None:
    expected, uncertainty = np.array([[0.1, 0.4, 0.3]]), np.array([[0.5, 0.1, 0.1]])

    def found(policy: Policy) -> list[float]:
        row: list[float] = probabilities(policy, expected, uncertainty, all_of((1, 3)))[0].tolist()
        return row

    assert found(Policy("epsilon-greedy", 0.3)) == pytest.approx([0.1, 0.8, 0.1])
    assert found(Policy("linucb", 0.3, alpha=1.0)) == pytest.approx([0.8, 0.1, 0.1])
    assert found(Policy("linucb", 0.3, alpha=0.1)) == pytest.approx([0.1, 0.8, 0.1])
    powers = [math.exp(value / 0.2) for value in (0.1, 0.4, 0.3)]
    expected_softmax = [0.997 * power / sum(powers) + 0.001 for power in powers]
    assert found(Policy("softmax", temperature=0.2)) == pytest.approx(expected_softmax)
    assert found(Policy("linucb", 0.0, propensity_min=0.2)) == pytest.approx([0.6, 0.2, 0.2])


def test_actions_that_are_equally_good_share() -> None:
    expected = np.array([[0.5, 0.5, 0.1]])
    for rule in ("epsilon-greedy", "linucb"):
        found = probabilities(Policy(rule, 0.3), expected, np.full((1, 3), 0.2), all_of((1, 3)))
        np.testing.assert_allclose(found, [[0.45, 0.45, 0.1]])


def test_the_normal_distribution_function_is_right() -> None:
    x = np.linspace(-9.0, 9.0, 2_001)
    exact = np.array([0.5 * math.erfc(-each / math.sqrt(2.0)) for each in x])
    assert np.abs(normal_cdf(x) - exact).max() < 1e-7


@ANY_SPEED
@given(st.floats(-3.0, 3.0), st.floats(-3.0, 0.0), st.floats(-3.0, 0.0))
def test_the_better_of_two_has_its_exact_probability(gap: float, first: float, second: float) -> None:
    """P(first is better) = Phi(gap / sqrt(s1^2 + s2^2)), for deviations that differ by up to a thousand times."""
    deviation = np.array([[10.0**first, 10.0**second]])
    together = math.hypot(*deviation[0])
    found = best_probability(np.array([[gap * together, 0.0]]), deviation, all_of((1, 2)))
    exact = 0.5 * math.erfc(-gap / math.sqrt(2.0))
    assert found[0, 0] == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("actions", [3, 8, 34])
def test_thompson_probabilities_are_the_frequencies_of_sampling(actions: int) -> None:
    """40 000 samples a row: a frequency is off by 5.5 deviations once in 2.6e7, and the integral by 0.002 besides."""
    expected, uncertainty = beliefs(20, actions, actions)
    found = best_probability(expected, uncertainty, all_of((20, actions)))
    random = np.random.default_rng(1)
    for row in range(20):
        samples = expected[row] + uncertainty[row] * random.standard_normal((40_000, actions))
        frequency = np.bincount(samples.argmax(axis=1), minlength=actions) / 40_000
        allowed = 5.5 * np.sqrt(found[row] * (1.0 - found[row]) / 40_000 + 1e-9) + 2e-3
        assert (np.abs(frequency - found[row]) <= allowed).all()


def test_rows_do_not_depend_on_their_neighbours() -> None:
    expected, uncertainty = beliefs(700, 34, 5)
    whole = best_probability(expected, uncertainty, all_of((700, 34)))
    part = best_probability(expected[650:651], uncertainty[650:651], all_of((1, 34)))
    np.testing.assert_allclose(whole[650:651], part, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_choices_have_the_frequencies_that_are_logged_as_propensities(rule: Rule) -> None:
    """Ids as a server makes them; chi-square over 20 000 of them fails once in a million."""
    expected, uncertainty = np.array([[0.30, 0.32, 0.25, 0.31]]), np.array([[0.02, 0.05, 0.04, 0.01]])
    eligible = np.array([[True, True, True, False]])
    found = probabilities(Policy(rule, 0.1, temperature=0.05), expected, uncertainty, eligible)
    uniforms = uniforms_of("shop", (f"0190f2a4-7c11-7{number:03x}-8000-{number:012x}" for number in range(20_000)))
    chosen = draw(np.repeat(found, 20_000, axis=0), uniforms)
    counts = np.bincount(chosen, minlength=4)
    assert counts[3] == 0
    wanted = found[0, :3] * 20_000
    assert ((counts[:3] - wanted) ** 2 / wanted).sum() < CHI_SQUARE_MAX


def test_the_same_id_gives_the_same_number_and_models_are_independent() -> None:
    ids = [f"id-{number}" for number in range(5_000)]
    one, again, other = uniforms_of("shop", ids), uniforms_of("shop", reversed(ids)), uniforms_of("news", ids)
    np.testing.assert_array_equal(one, again[::-1])
    assert 0.0 <= one.min() < one.max() < 1.0
    # A correlation of 5 000 pairs has deviation 0.014; beyond 0.07 it is one in a million.
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.07
    # What servers chose must be found again by every later version: this number never changes.
    assert uniforms_of("shop", ["id-0"])[0] == 0.2720937766999695


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2.0**-53])
def test_no_number_draws_an_action_of_probability_zero(uniform: float) -> None:
    thirds = np.array([[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0 - 1e-16, 0.0]])
    assert draw(thirds, np.array([uniform]))[0] in (1, 2, 3)


def test_a_policy_says_which_setting_is_wrong() -> None:
    for settings, told in (
        ({"rule": "best"}, "policy"),
        ({"epsilon": 1.5}, "epsilon"),
        ({"alpha": 0.0}, "alpha"),
        ({"temperature": 0.0}, "temperature"),
        ({"propensity_min": 0.0}, "propensity_min"),
    ):
        with pytest.raises(ValueError, match=told):
            Policy(**settings)
    row = np.zeros((1, 30))
    with pytest.raises(ValueError, match="30 actions cannot all"):
        probabilities(Policy(propensity_min=0.05), row, row + 1.0, all_of((1, 30)))
    with pytest.raises(ValueError, match="eligible"):
        probabilities(Policy(), row, row + 1.0, ~all_of((1, 30)))
    assert Policy.from_tensors(Policy("softmax", 0.2).tensors()) == Policy("softmax", 0.2)
