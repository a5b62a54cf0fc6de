"""`LinearBandit` keeps the contract, is the regression it says, and takes back what it learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.learners.bandits.linear import BanditSettings, LinearBandit
from rheostat.learners.bandits.policy import RULES, Policy, Rule
from rheostat.learners.bandits.served import BanditPredictor
from rheostat.learners.checks import check_learner, toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Unlearns, needs_context
from rheostat.learners.features import select
from rheostat.learners.predictors import predictor

ACTIONS = ("left", "middle", "right")
NUMERIC = FeatureSchema("numbers@1", ("x", "y"), (), ACTIONS)
CATEGORICAL = FeatureSchema("categories@1", (), ("c", "d"), ACTIONS)
MIXED = FeatureSchema("both@1", ("x", "y", "z"), ("c",), ACTIONS)
HOUR_MS = 3_600_000
START_MS = 1_760_000_000_000


def timed(batch: Batch, *times_ms: int) -> Batch:
    """The batch with these times, each for as many rows as fit."""
    assert batch.context is not None
    times = np.repeat(np.array(times_ms, np.int64), -(-len(batch) // len(times_ms)))[: len(batch)]
    return replace(batch, context=replace(batch.context, occurred_at_ms=times))


def rewarded(schema: FeatureSchema, rows: int, seed: int) -> Batch:
    """Rows whose reward depends on the action and on the first feature: "left" pays where x > 0, "right" elsewhere."""
    batch = toy_batch(schema, rows, seed)
    assert batch.context is not None
    positive = batch.numeric[:, 0] > 0.0
    chances = np.column_stack([positive * 0.8, np.full(rows, 0.3), ~positive * 0.8])
    chance = chances[np.arange(rows), batch.context.action]
    return replace(batch, label=(np.random.default_rng(seed).random(rows) < chance).astype(np.float64))


def learned(batch: Batch, policy: Policy | None = None, settings: BanditSettings | None = None) -> LinearBandit:
    learner = LinearBandit(NUMERIC, policy, settings)
    learner.learn(batch)
    learner.flush()
    return learner


@pytest.mark.parametrize("rule", RULES)
def test_it_keeps_the_laws_with_every_policy(rule: Rule) -> None:
    check_learner(lambda: LinearBandit(NUMERIC, Policy(rule)), predictor, also=["weight 2 is seen twice"])


@pytest.mark.parametrize("schema", [CATEGORICAL, MIXED])
def test_it_keeps_the_laws_with_categories_and_with_forgetting(schema: FeatureSchema) -> None:
    settings = BanditSettings(half_life_ms=HOUR_MS)
    check_learner(lambda: LinearBandit(schema, None, settings), predictor, also=["weight 2 is seen twice"])


def test_beliefs_are_the_weighted_ridge_regression_of_each_action() -> None:
    """Against the normal equations written out, one action at a time."""
    batch = rewarded(NUMERIC, 900, 1)
    parameters = learned(batch, settings=BanditSettings(ridge=2.0, batch_rows=64)).parameters()
    centre, factor, base = (np.asarray(parameters[name], np.float64) for name in ("centre", "factor", "base"))
    shaped = np.sign(batch.numeric) * np.log1p(np.abs(batch.numeric))
    inputs = np.column_stack([np.ones(900), (shaped - centre) * factor])
    assert base[0] == pytest.approx((batch.weight @ batch.label + 1.0) / (batch.weight.sum() + 2.0))
    assert batch.context is not None
    for action in range(3):
        rows = batch.context.action == action
        x, w, r = inputs[rows], batch.weight[rows], batch.label[rows]
        precision = 2.0 * np.eye(3) + x.T @ (x * w[:, np.newaxis])
        expected = np.linalg.solve(precision, x.T @ (w * (r - base[0])))
        np.testing.assert_allclose(np.asarray(parameters["mean"])[action], expected, rtol=1e-9, atol=1e-12)
    test = toy_batch(NUMERIC, 40, 2)
    shaped = np.sign(test.numeric) * np.log1p(np.abs(test.numeric))
    inputs = np.column_stack([np.ones(40), (shaped - centre) * factor])
    variance = np.einsum("ij,jk,ik->i", inputs, np.linalg.inv(precision), inputs) * base[0] * (1.0 - base[0])
    served = predictor("linear-bandit/1", NUMERIC, parameters)
    assert isinstance(served, BanditPredictor)
    np.testing.assert_allclose(served.uncertainty(test)[:, 2], np.sqrt(variance), rtol=1e-9)


def test_numbers_are_standardised_so_that_their_unit_hardly_matters() -> None:
    """The prior is about deviations: a feature in thousandths is believed as much as one in units."""
    batch, test = rewarded(NUMERIC, 400, 3), toy_batch(NUMERIC, 50, 4)
    small = replace(batch, numeric=batch.numeric * 1e-3)
    whole = learned(batch).choices(test)
    scaled = learned(small).choices(replace(test, numeric=test.numeric * 1e-3))
    # Near 0 the signed logarithm is nearly the number itself, so the two are not quite the same feature.
    assert np.abs(whole - scaled).mean() < 0.05
    assert np.abs(whole - whole.mean(axis=0)).mean() > 0.1


def test_it_learns_which_action_pays_where() -> None:
    learner, test = learned(rewarded(NUMERIC, 4_000, 5)), toy_batch(NUMERIC, 500, 6)
    best = learner.choices(test).argmax(axis=1)
    far = np.abs(test.numeric[:, 0]) > 0.5
    assert (best[far] == np.where(test.numeric[far, 0] > 0.0, 0, 2)).mean() > 0.95


def test_an_action_never_taken_is_believed_average_and_most_uncertain() -> None:
    batch = rewarded(NUMERIC, 600, 7)
    assert batch.context is not None
    batch = select(batch, batch.context.action != 1)
    learner, test = learned(batch), toy_batch(NUMERIC, 20, 8)
    mean = (batch.weight @ batch.label + 1.0) / (batch.weight.sum() + 2.0)
    np.testing.assert_allclose(learner.choices(test)[:, 1], mean, rtol=1e-12)
    assert (learner.uncertainty(test).argmax(axis=1) == 1).all()


def test_predict_is_the_reward_of_the_action_taken_and_without_one_of_the_best() -> None:
    learner, test = learned(rewarded(NUMERIC, 600, 9)), toy_batch(NUMERIC, 30, 10)
    choices = learner.choices(test)
    assert test.context is not None
    taken = choices[np.arange(30), test.context.action]
    np.testing.assert_array_equal(learner.predict(test), taken)
    np.testing.assert_array_equal(learner.predict(replace(test, context=None)), choices.max(axis=1))
    unknown = replace(test.context, action=np.full(30, -1))
    np.testing.assert_array_equal(learner.predict(replace(test, context=unknown)), choices.max(axis=1))


# --- taking back


@pytest.mark.parametrize("half_life_ms", [None, HOUR_MS])
def test_what_is_unlearned_was_never_learned(half_life_ms: int | None) -> None:
    settings = BanditSettings(half_life_ms=half_life_ms, batch_rows=100)
    times = [START_MS + hour * HOUR_MS // 2 for hour in range(5)]
    batch = timed(rewarded(NUMERIC, 1_000, 11), *times)
    gone = np.random.default_rng(12).random(1_000) < 0.4
    gone[-1] = False  # The newest row stays: a clock does not go back.
    learner, without = learned(batch, None, settings), learned(select(batch, ~gone), None, settings)
    assert isinstance(learner, Unlearns)
    before = learner.predict(batch)
    learner.unlearn(select(batch, gone))
    for name, tensor in without.parameters().items():
        np.testing.assert_allclose(np.asarray(learner.parameters()[name]), np.asarray(tensor), rtol=1e-8, atol=1e-10)
    test = toy_batch(NUMERIC, 50, 13)
    np.testing.assert_allclose(learner.choices(test), without.choices(test), atol=1e-10)
    assert np.abs(before - learner.predict(batch)).max() > 1e-3
    assert learner.metrics() == without.metrics()


def test_all_that_was_learned_can_be_taken_back_even_what_still_waits() -> None:
    batch, test = rewarded(MIXED, 700, 14), toy_batch(MIXED, 50, 15)
    learner = LinearBandit(MIXED)
    learner.learn(batch)
    learner.unlearn(batch)
    np.testing.assert_allclose(learner.choices(test), 0.5, atol=1e-6)


def test_rows_that_were_not_learned_are_not_taken_back_and_do_no_harm() -> None:
    batch = rewarded(NUMERIC, 300, 16)
    learner, test = learned(batch), toy_batch(NUMERIC, 50, 17)
    before = learner.choices(test)
    twice = select(batch, np.repeat(np.arange(300), 2))
    other = replace(select(batch, slice(0, 100)), numeric=batch.numeric[:100] * 1e6)
    for rows in (twice, other):
        learner.unlearn(rows)
        np.testing.assert_array_equal(learner.choices(test), before)
    assert learner.metrics()["bandit_rows_not_taken_back"] == 700.0
    # Here the sums of squares are right, and those of products are those of no rows at all.
    learner.unlearn(select(replace(batch, numeric=batch.numeric * [1.0, -1.0]), slice(0, 270)))
    found = learner.choices(test)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    learner.learn(batch)
    learner.unlearn(replace(batch, label=np.ones(300)))
    found = learner.choices(test)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    predictor("linear-bandit/1", NUMERIC, learner.parameters())
    assert (learner.uncertainty(test) > 0.0).all()


# --- forgetting


def test_a_row_counts_half_after_a_half_life() -> None:
    old, new = (rewarded(NUMERIC, 300, seed) for seed in (17, 18))
    forgetful = LinearBandit(NUMERIC, None, BanditSettings(half_life_ms=HOUR_MS))
    # The clock moves a tick a row at most, so that one wrong time cannot make it forget everything.
    forgetful.learn(timed(old, START_MS))
    forgetful.learn(timed(new, START_MS + HOUR_MS))
    forgetful.flush()
    weighed = LinearBandit(NUMERIC)
    weighed.learn(replace(old, weight=old.weight / 2.0))
    weighed.learn(new)
    weighed.flush()
    np.testing.assert_allclose(
        np.asarray(forgetful.parameters()["mean"]), np.asarray(weighed.parameters()["mean"]), rtol=1e-9
    )


def test_a_single_wrong_time_forgets_next_to_nothing() -> None:
    batch, test = rewarded(NUMERIC, 600, 19), toy_batch(NUMERIC, 50, 20)
    settings = BanditSettings(half_life_ms=HOUR_MS)
    times = np.full(600, START_MS)
    right = learned(timed(batch, *times), None, settings)
    times[300] += 10_000 * HOUR_MS
    wrong = learned(timed(batch, *times), None, settings)
    assert np.abs(right.choices(test) - wrong.choices(test)).max() < 0.01
    assert (wrong.uncertainty(test) < right.uncertainty(test) * 1.05).all()


# --- what it refuses


def test_rows_without_a_known_action_are_counted_and_leave_no_other_trace() -> None:
    batch = rewarded(NUMERIC, 400, 21)
    assert batch.context is not None
    unknown = np.arange(400) % 4 == 0
    action = np.where(unknown, -1, batch.context.action)
    learner = learned(replace(batch, context=replace(batch.context, action=action)))
    without = learned(select(batch, ~unknown))
    assert learner.metrics() == {
        "bandit_rows": 300.0,
        "bandit_rows_without_action": 100.0,
        "bandit_rows_not_taken_back": 0.0,
    }
    test = toy_batch(NUMERIC, 20, 22)
    np.testing.assert_allclose(learner.choices(test), without.choices(test), atol=1e-12)


def test_it_says_what_it_cannot_learn_from() -> None:
    learner, batch = LinearBandit(NUMERIC), rewarded(NUMERIC, 10, 23)
    assert needs_context(learner)
    with pytest.raises(ValueError, match="needs the context"):
        learner.learn(replace(batch, context=None))
    assert batch.context is not None
    with pytest.raises(ValueError, match="not one of the 3"):
        learner.learn(replace(batch, context=replace(batch.context, action=np.full(10, 3))))


def test_a_state_of_other_actions_or_another_policy_of_learning_is_refused() -> None:
    learner = learned(rewarded(NUMERIC, 100, 24))
    for other, told in (
        (LinearBandit(replace(NUMERIC, actions=("left", "right", "middle"))), "other actions"),
        (LinearBandit(NUMERIC, None, BanditSettings(ridge=3.0)), "with settings"),
    ):
        with pytest.raises(ValueError, match=told):
            other.restore(learner.snapshot())
    LinearBandit(NUMERIC, Policy("linucb")).restore(learner.snapshot())


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (FeatureSchema("none@1", ("x",)), "0 actions"),
        (FeatureSchema("many@1", ("x",), (), tuple(map(str, range(257)))), "257 actions"),
        (FeatureSchema("wide@1", (), tuple(map(str, range(40))), tuple(map(str, range(20)))), "fewer features"),
        (FeatureSchema("thin@1", ("x",), (), tuple(map(str, range(30)))), "propensity_min"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(schema: FeatureSchema, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LinearBandit(schema, Policy(propensity_min=0.05))


def test_parameters_that_do_not_fit_are_refused() -> None:
    parameters = learned(rewarded(NUMERIC, 100, 25)).parameters()
    for name, tensor, told in (
        ("mean", np.zeros((2, 3)), "mean"),
        ("base", np.zeros(1), "base"),
        ("policy.rule", np.array([9], np.uint64), "rule"),
        ("policy.numbers", np.array([0.1, 1.0, 0.1, 0.9]), "propensity_min"),
        ("bins", np.array([0], np.uint64), "bins"),
    ):
        with pytest.raises(ValueError, match=told):
            predictor("linear-bandit/1", NUMERIC, {**parameters, name: tensor})
