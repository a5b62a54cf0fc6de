"""What each task's output means: laws of pairs, classes and rewards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep.losses import reward_weights
from rheostat.learners.deep_settings import DeepSettings, RewardSettings
from rheostat.learners.features import batch_from_columns, no_context, select
from rheostat.learners.logistic import sigmoid
from rheostat.learners.mlp import ChoicePredictor, PairPredictor
from rheostat.learners.predictors import predictor
from tests.unit.learners.deep.support import ACTIONS, CLASSES, PAIRS, PAIRWISE, REWARDS, SMALL
from tests.unit.learners.support import ANY_SPEED, MIXED, NUMERIC

NOTHING = FeatureSchema("nothing@1", actions=("stay", "go"))
BY_ONE_STEP = DeepSettings(table_bits=4, dim=2, hidden=8, batch_rows=16, task="rewards")


def shown(batch: Batch, action: NDArray[np.int64], label: ArrayLike, propensity: Floats | float = 1.0 / 3.0) -> Batch:
    """Return the batch with these actions and what came of them."""
    context = replace(no_context(len(batch)), action=action, propensity=np.full(len(batch), propensity))
    return replace(batch, label=np.asarray(label, np.float64), weight=np.ones(len(batch)), context=context)


def swapped(batch: Batch) -> Batch:
    """Return the pairs the other way round."""
    numeric, categorical = batch.numeric, batch.categorical
    return replace(
        batch,
        numeric=np.roll(numeric, numeric.shape[1] // 2, axis=1),
        categorical=np.roll(categorical, categorical.shape[1] // 2, axis=1),
        label=1.0 - batch.label,
    )


def preferences(rows: int, seed: int) -> Batch:
    """The cheaper one is preferred, whatever its category; and `z` over every other category, whatever its price."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 4))
    sites = random.choice(["x", "y", "z"], (rows, 2), p=[0.45, 0.45, 0.1])
    value = (sites == "z") * 10.0 - numbers[:, [0, 2]]
    columns = [list(sites[:, 0]), ["b"] * rows, list(sites[:, 1]), ["b"] * rows]
    return batch_from_columns(PAIRS, numbers, columns, (value[:, 0] > value[:, 1]).astype(float))


def test_a_pair_the_other_way_round_has_the_other_probability() -> None:
    learner, test = HashedMLP(PAIRS, PAIRWISE), toy_batch(PAIRS, 200, 2)
    for _ in range(2):
        assert np.abs(learner.predict(test) + learner.predict(swapped(test)) - 1.0).max() < 1e-12
        learner.learn(preferences(640, 1))
    assert np.ptp(learner.predict(test)) > 0.5


def test_a_preference_is_learned_for_values_seen_on_either_side() -> None:
    learner, train, test = HashedMLP(PAIRS, PAIRWISE), preferences(6_000, 1), preferences(1_000, 2)
    # `z` is only ever shown first, and asked for second.
    train = select(train, train.categorical[:, 2] != test.categorical.max())
    learner.learn(train)
    assert ((learner.predict(test) > 0.5) == (test.label > 0.5)).mean() > 0.93


def test_values_of_single_candidates_rank_as_pairs_do() -> None:
    learner, test = HashedMLP(PAIRS, PAIRWISE), preferences(300, 3)
    learner.learn(preferences(1_000, 1))
    served = predictor(learner.kind, PAIRS, learner.parameters())
    assert isinstance(served, PairPredictor)
    for answers in (learner, served):
        first = answers.values(test.numeric[:, :2], test.categorical[:, :2])
        second = answers.values(test.numeric[:, 2:], test.categorical[:, 2:])
        assert np.allclose(sigmoid(first - second), learner.predict(test), atol=1e-6)


@pytest.mark.parametrize("numeric", [("a", "b"), ("a", "b#2"), ("a#2", "a"), ("a",), ("a", "b", "b#2", "a#2")])
def test_features_that_are_not_those_of_two_candidates_are_refused(numeric: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="for pairs, the features of the second"):
        HashedMLP(FeatureSchema("f@1", numeric), PAIRWISE)


def right_class(batch: Batch) -> NDArray[np.int64]:
    """The class depends on the sign of one number and on the other."""
    return np.where(batch.numeric[:, 0] > 0.0, 0, np.where(batch.numeric[:, 1] > 0.0, 1, 2))


@pytest.mark.parametrize("feedback", ["partial", "corrections"])
def test_classes_are_learned_from_whether_the_one_shown_was_right(feedback: str) -> None:
    learner, test = HashedMLP(ACTIONS, CLASSES), toy_batch(ACTIONS, 1_000, 2)
    batch = toy_batch(ACTIONS, 8_000, 1)
    right = right_class(batch)
    action = np.random.default_rng(3).integers(0, 3, len(batch)) if feedback == "partial" else right
    learner.learn(shown(batch, action, action == right))
    choices = learner.choices(test)
    assert (choices.argmax(axis=1) == right_class(test)).mean() > 0.93
    assert np.allclose(choices.sum(axis=1), 1.0)


@pytest.mark.parametrize("settings", [CLASSES, REWARDS])
def test_the_prediction_is_that_of_the_action_shown_or_of_the_best(settings: DeepSettings) -> None:
    learner, test = HashedMLP(ACTIONS, settings), toy_batch(ACTIONS, 200, 2)
    learner.learn(toy_batch(ACTIONS, 640, 1))
    served = predictor(learner.kind, ACTIONS, learner.parameters())
    assert isinstance(served, ChoicePredictor)
    action = np.arange(200) % 4 - 1
    test = shown(test, action, test.label)
    for answers in (learner, served):
        choices = answers.choices(test)
        assert choices.shape == (200, 3)
        picked = np.where(action < 0, choices.max(axis=1), choices[np.arange(200), action])
        assert np.array_equal(answers.predict(test), picked)
        assert np.array_equal(answers.predict(replace(test, context=None)), choices.max(axis=1))


@pytest.mark.parametrize("loss", ["log", "squared"])
def test_only_the_output_of_the_chosen_action_learns(loss: str) -> None:
    learner = HashedMLP(ACTIONS, replace(REWARDS, rewards=RewardSettings(loss=loss)))  # type: ignore[arg-type]
    batch = toy_batch(ACTIONS, 320, 1)
    before = learner.parameters()
    learner.learn(shown(batch, np.full(320, 1), batch.label))
    after = learner.parameters()
    for name in ("output.weight", "output.bias"):
        moved = np.atleast_2d(after[name] != before[name]).any(axis=0)
        assert moved.tolist() == [False, True, False]


def hidden_context(rows: int) -> Batch:
    """An unseen state makes action 0 both likely and good: of the chosen ones 0.9 are good, of all 0.5 are."""
    random = np.random.default_rng(1)
    good = random.random(rows) < 0.5
    chance = np.where(good, 0.9, 0.1)
    action = np.where(random.random(rows) < chance, 0, 1)
    batch = batch_from_columns(NOTHING, np.zeros((rows, 0)), [])
    return shown(batch, action, good, np.where(action == 0, chance, 1.0 - chance))


@pytest.mark.parametrize("loss", ["log", "squared"])
@pytest.mark.parametrize("self_normalised", [False, True])
def test_rewards_are_those_of_all_rows_not_of_those_that_were_chosen(loss: str, self_normalised: bool) -> None:
    rewards = RewardSettings(loss=loss, self_normalised=self_normalised)  # type: ignore[arg-type]
    settings = replace(BY_ONE_STEP, rewards=rewards, batch_rows=64, memory_rows=None)
    batch = hidden_context(20_000)
    logged, blind = HashedMLP(NOTHING, settings), HashedMLP(NOTHING, settings)
    logged.learn(batch)
    assert batch.context is not None
    blind.learn(replace(batch, context=replace(batch.context, propensity=np.full(len(batch), np.nan))))
    assert np.abs(logged.choices(select(batch, slice(1))) - 0.5).max() < 0.1
    assert np.abs(blind.choices(select(batch, slice(1))) - [0.9, 0.1]).max() < 0.1


@ANY_SPEED
@given(st.lists(st.one_of(st.floats(0.001, 1.0), st.just(float("nan"))), min_size=1, max_size=20), st.booleans())
def test_weights_of_rewards_are_bounded_and_keep_their_mean(propensity: list[float], self_normalised: bool) -> None:
    settings = RewardSettings(propensity_floor=0.1, self_normalised=self_normalised)
    batch = toy_batch(ACTIONS, len(propensity), 1)
    batch = shown(batch, np.zeros(len(batch), np.int64), batch.label, np.array(propensity))
    weight = np.linspace(0.5, 2.0, len(batch))
    found = reward_weights(batch, weight, settings)
    if self_normalised:
        assert found.mean() == pytest.approx(weight.mean())
    else:
        assert (found <= weight / 0.1 * (1 + 1e-12)).all()
        assert (found >= weight).all()


@pytest.mark.parametrize("settings", [CLASSES, REWARDS])
@pytest.mark.parametrize("action", [-1, 3])
def test_a_row_without_an_action_leaves_no_trace(settings: DeepSettings, action: int) -> None:
    batch = toy_batch(ACTIONS, 100, 1)
    without = shown(batch, np.where(np.arange(100) % 3 == 0, action, 1), batch.label)
    learner, other = HashedMLP(ACTIONS, settings), HashedMLP(ACTIONS, settings)
    learner.learn(without)
    other.learn(select(without, np.arange(100) % 3 != 0))
    assert same_state(learner, other)


def same_state(one: Learner, other: Learner) -> bool:
    """Whether two learners have equal states."""
    states = (one.snapshot().tensors, other.snapshot().tensors)
    return states[0].keys() == states[1].keys() and all(
        np.array_equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_a_regression_expects_the_mean() -> None:
    batch = batch_from_columns(NUMERIC, np.zeros((9_000, 2)), [], np.tile([0.0, 0.1, 0.8], 3_000))
    learner = HashedMLP(NUMERIC, replace(SMALL, task="regression", batch_rows=30, memory_rows=None))
    learner.learn(batch)
    assert learner.predict(select(batch, slice(1))) == pytest.approx([0.3], abs=0.02)


@pytest.mark.parametrize(
    ("schema", "settings", "says"),
    [
        (MIXED, CLASSES, "needs at least two actions"),
        (MIXED, REWARDS, "needs at least two actions"),
        (MIXED, replace(SMALL, task="survival"), "is not one of binary, regression"),  # type: ignore[arg-type]
        (MIXED, replace(SMALL, rewards=RewardSettings("squared")), 'are for task "rewards"'),
    ],
)
def test_what_does_not_fit_together_is_refused(schema: FeatureSchema, settings: DeepSettings, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HashedMLP(schema, settings)


def test_what_only_some_tasks_have_is_refused_of_others() -> None:
    binary, batch = HashedMLP(MIXED, SMALL), toy_batch(MIXED, 3, 1)
    with pytest.raises(ValueError, match="'binary' has no actions"):
        binary.choices(batch)
    with pytest.raises(ValueError, match="'binary' has no pairs"):
        binary.values(batch.numeric, batch.categorical)
    with pytest.raises(ValueError, match="Fisher information of task 'classes'"):
        HashedMLP(ACTIONS, CLASSES).fisher(toy_batch(ACTIONS, 3, 1))
    with pytest.raises(ValueError, match="need a context"):
        HashedMLP(ACTIONS, CLASSES).learn(replace(toy_batch(ACTIONS, 3, 1), context=None))
