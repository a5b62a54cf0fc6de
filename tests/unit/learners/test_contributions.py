"""Contributions sum to the score: exactly for linear models, with a named remainder for others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.bandits.linear import LinearBandit
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.bayes_logistic import BayesLogistic
from rheostat.learners.contract import Context, FeatureSchema, Learner
from rheostat.learners.contributions import Contributions, contributions
from rheostat.learners.features import batch_from_columns
from rheostat.learners.linear import RiverLinear
from rheostat.learners.predictors import predictor
from tests.support.model_topic import SCHEMA, hashed_tensors, linear_tensors

NUMBERS = st.floats(-50, 50)
ROW = st.tuples(NUMBERS, NUMBERS, st.sampled_from(["com", "org", "net", ""]))


def explained(kind: str, tensors: dict[str, np.ndarray], row: tuple[float, float, str]) -> tuple[Contributions, float]:
    model = predictor(kind, SCHEMA, tensors)
    batch = batch_from_columns(SCHEMA, [row[:2]], [[row[2]]])
    return contributions(model, SCHEMA, tensors, batch), float(model.predict(batch)[0])


def sigmoid(value: float) -> float:
    return float((np.tanh(value / 2) + 1) / 2)


@settings(max_examples=50)
@given(ROW, st.integers(0, 5), st.booleans())
def test_of_a_linear_model_the_contributions_sum_to_the_score_and_each_is_weight_times_scaled_value(
    row: tuple[float, float, str], seed: int, signed_log: bool
) -> None:
    random = np.random.default_rng(seed)
    tensors = linear_tensors(seed) | {
        "scale.mean": random.normal(size=6),
        "scale.factor": random.uniform(0.1, 1, 6),
        "scale.options": np.array([float(signed_log), 10.0]),
    }
    found, score = explained("linear/1", tensors, row)
    assert (found.method, found.unit, found.remainder) == ("exact", "log-odds", 0.0)
    assert found.names == ("url_length", "age_days", "tld")
    assert sigmoid(found.base + sum(found.contribution)) == pytest.approx(score, abs=1e-12)
    shaped = np.array([np.copysign(np.log1p(abs(each)), each) if signed_log else each for each in row[:2]])
    scaled = np.clip((shaped - tensors["scale.mean"][:2]) * tensors["scale.factor"][:2], -10, 10)
    assert found.contribution[:2] == pytest.approx(tuple(scaled * tensors["weights"][:2]))
    assert (found.contribution[2] == 0.0) == (row[2] == "")


@settings(max_examples=30)
@given(ROW, st.integers(0, 5))
def test_of_a_network_contributions_and_the_named_remainder_sum_to_the_score(
    row: tuple[float, float, str], seed: int
) -> None:
    tensors = hashed_tensors(64, seed) | {"scale.mean": np.array([1.5, -0.5])}
    found, score = explained("hashed-mlp/1", tensors, row)
    clipped = min(max(score, 1e-12), 1 - 1e-12)
    assert (found.method, found.unit, found.reference) == ("occlusion", "log-odds", "mean")
    # A network counts in single precision.
    assert sigmoid(found.base + sum(found.contribution) + found.remainder) == pytest.approx(clipped, abs=1e-6)
    model = predictor("hashed-mlp/1", SCHEMA, tensors)
    # The reference is what the base says it is.
    at_means = model.predict(batch_from_columns(SCHEMA, [[1.5, -0.5]], [[None]]))
    assert sigmoid(found.base) == pytest.approx(float(at_means[0]), abs=1e-6)


def test_a_feature_as_in_the_reference_contributes_nothing() -> None:
    tensors = hashed_tensors(64) | {"scale.mean": np.array([1.5, -0.5])}
    found, _ = explained("hashed-mlp/1", tensors, (1.5, 3.0, ""))
    assert found.contribution[0] == found.contribution[2] == 0.0 != found.contribution[1]
    assert found.points[0] == 0.0


def learned(learner: Learner, rows: int = 400) -> Learner:
    random = np.random.default_rng(3)
    schema = learner.schema
    numbers = random.normal(2.0, 1.0, (rows, len(schema.numeric)))
    texts = [random.choice(["com", "org"], rows).tolist() for _ in schema.categorical]
    label = (numbers[:, 0] > 2.0).astype(float)
    batch = batch_from_columns(schema, numbers, texts, label)
    if schema.actions:
        context = Context(
            random.integers(0, len(schema.actions), rows),
            np.full(rows, 0.5),
            np.arange(rows),
            np.zeros(rows, np.uint64),
        )
        batch = type(batch)(batch.schema_id, batch.numeric, batch.categorical, batch.label, batch.weight, context)
    learner.learn(batch)
    learner.flush()
    return learner


@pytest.mark.parametrize("make", [RiverLinear, BayesLogistic])
def test_what_was_learned_of_shows(make: type[RiverLinear] | type[BayesLogistic]) -> None:
    learner = learned(make(SCHEMA))
    tensors = learner.parameters()
    model = predictor(learner.kind, SCHEMA, tensors)
    batch = batch_from_columns(SCHEMA, [[4.0, 2.0]], [["com"]])
    found = contributions(model, SCHEMA, tensors, batch)
    assert max(found.contribution) == found.contribution[0] > 0.5
    assert found.points[0] > 0
    assert sigmoid(found.base + sum(found.contribution) + found.remainder) == pytest.approx(
        float(model.predict(batch)[0]), abs=1e-9
    )


def test_of_a_model_that_chooses_one_action_is_explained_in_terms_of_its_reward() -> None:
    schema = FeatureSchema("offers@1", ("age", "stay"), (), ("none", "banner"))
    learner = learned(LinearBandit(schema, Policy()))
    tensors = learner.parameters()
    model = predictor(learner.kind, schema, tensors)
    batch = batch_from_columns(schema, [[2.5, 2.0]], [])
    for action in (0, 1):
        found = contributions(model, schema, tensors, batch, action)
        assert (found.unit, found.reference) == ("score", "mean")
        expected = float(model.choices(batch)[0, action])  # type: ignore[attr-defined]
        assert found.value == expected
        assert found.base + sum(found.contribution) + found.remainder == pytest.approx(expected)
        # A linear belief only adds up.
        assert found.remainder == pytest.approx(0.0, abs=1e-9)
        assert found.points == found.contribution


def test_what_is_not_scored_with_is_no_feature_of_the_answer() -> None:
    schema = FeatureSchema("shown@1", ("price", "position"), ("tld",), training_only=(("position", 3.0),))
    tensors = linear_tensors() | {"scale.mean": np.full(6, 0.5)}
    model = predictor("linear/1", schema, tensors)
    batch = batch_from_columns(schema, [[7.0, 3.0]], [["com"]])
    found = contributions(model, schema, tensors, batch)
    assert found.names == ("price", "tld")
    assert sigmoid(found.base + sum(found.contribution)) == pytest.approx(float(model.predict(batch)[0]), abs=1e-12)
