"""What a server computes in numpy is what the learner's own library computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, optim

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import FeatureSchema, Learner, PredictsOne, Tensors
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.features import batch_from_columns
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.logistic import one_hot, sigmoid
from rheostat.learners.mlp import table_rows
from rheostat.learners.predictors import predictor
from rheostat.learners.scaling import Scale
from tests.unit.learners.deep.reference import Reference
from tests.unit.learners.support import MIXED, SCHEMAS

SMALL = DeepSettings(table_bits=6, dim=3, hidden=5, batch_rows=16)
MAKE: tuple[Callable[[FeatureSchema], Learner], ...] = (
    lambda schema: RiverLinear(schema, LinearSettings(batch_rows=16)),
    lambda schema: HashedMLP(schema, SMALL),
)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(MAKE), st.sampled_from(SCHEMAS), st.integers(0, 200), st.integers(0, 10**6))
def test_served_scores_are_the_learners(
    make: Callable[[FeatureSchema], Learner], schema: FeatureSchema, rows: int, seed: int
) -> None:
    learner = make(schema)
    learner.learn(toy_batch(schema, rows, seed))
    learner.flush()
    test = toy_batch(schema, 20, seed + 1)
    served = predictor(learner.kind, schema, learner.parameters()).predict(test)
    np.testing.assert_allclose(served, learner.predict(test), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_linear_scores_are_rivers(schema: FeatureSchema) -> None:
    """River is given the scaled inputs, learns the same steps, and answers itself."""
    learner = RiverLinear(schema, LinearSettings(batch_rows=50, learning_rate=0.5))
    batch, test = toy_batch(schema, 50, 1), toy_batch(schema, 30, 2)
    learner.learn(batch)
    tensors = learner.parameters()
    scale = Scale.from_tensors(tensors, len(tensors["weights"]))

    def frame(rows: Any) -> pd.DataFrame:
        return pd.DataFrame(scale.apply(one_hot(rows, 16))).rename(columns=str)

    river: Any = linear_model.LogisticRegression(optim.SGD(0.5), intercept_lr=0.5)
    river.learn_many(frame(batch), pd.Series(batch.label), pd.Series(batch.weight))
    expected = river.predict_proba_many(frame(test))[True].to_numpy()
    served = predictor(learner.kind, schema, tensors).predict(test)
    np.testing.assert_allclose(served, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_mlp_scores_are_those_of_torch(schema: FeatureSchema) -> None:
    learner = HashedMLP(schema, SMALL)
    learner.learn(toy_batch(schema, 500, 3))
    test = toy_batch(schema, 40, 4)
    tensors = learner.parameters()
    scaled = Scale.from_tensors(tensors, len(schema.numeric)).apply(test.numeric).astype(np.float32)
    rows, present = table_rows(test.categorical, 64), test.categorical != 0
    with torch.no_grad():
        expected = torch.sigmoid(Reference(tensors)(*map(torch.from_numpy, (scaled, rows, present)))).numpy()
    served = predictor(learner.kind, schema, tensors).predict(test)
    np.testing.assert_allclose(served, expected, rtol=0.0, atol=1e-6)


def test_a_predictor_keeps_its_own_parameters() -> None:
    learner = HashedMLP(MIXED, SMALL)
    tensors = {name: np.array(tensor) for name, tensor in learner.parameters().items()}
    model, test = predictor(learner.kind, MIXED, tensors), toy_batch(MIXED, 10, 5)
    before = model.predict(test)
    for tensor in tensors.values():
        tensor[...] = 1
    assert np.array_equal(model.predict(test), before)


def test_a_predictor_takes_read_only_arrays() -> None:
    for make in MAKE:
        learner = make(MIXED)
        tensors = {name: np.array(tensor) for name, tensor in learner.parameters().items()}
        for tensor in tensors.values():
            tensor.flags.writeable = False
        assert predictor(learner.kind, MIXED, tensors).predict(toy_batch(MIXED, 3, 6)).shape == (3,)


def _linear() -> dict[str, Any]:
    return dict(RiverLinear(MIXED).parameters())


def _deep() -> dict[str, Any]:
    return dict(HashedMLP(MIXED, SMALL).parameters())


REFUSED: dict[str, tuple[str, Tensors]] = {
    "linear without weights": ("linear/1", {k: v for k, v in _linear().items() if k != "weights"}),
    "linear with too few weights": ("linear/1", {**_linear(), "weights": np.zeros(3)}),
    "linear in another type": ("linear/1", {**_linear(), "weights": np.zeros(19, np.float32)}),
    "linear without bins": ("linear/1", {**_linear(), "bins": np.zeros(1, np.uint64)}),
    "linear with endless bins": ("linear/1", {**_linear(), "bins": np.array([2**62], np.uint64)}),
    "deep without table": ("hashed-mlp/1", {k: v for k, v in _deep().items() if k != "table"}),
    "deep with an odd table": ("hashed-mlp/1", {**_deep(), "table": np.zeros((63, 3), np.float32)}),
    "deep with an empty table": ("hashed-mlp/1", {**_deep(), "table": np.zeros((0, 3), np.float32)}),
    "deep with a wide table": ("hashed-mlp/1", {**_deep(), "table": np.zeros((64, 4), np.float32)}),
    "deep with another layer": ("hashed-mlp/1", {**_deep(), "hidden.bias": np.zeros(6, np.float32)}),
    "deep without bias": ("hashed-mlp/1", {k: v for k, v in _deep().items() if k != "hidden.bias"}),
    "unknown kind": ("forest/1", _linear()),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_parameters_that_do_not_fit_are_refused(what: str) -> None:
    kind, tensors = REFUSED[what]
    with pytest.raises(ValueError, match=r"tensor|kind"):
        predictor(kind, MIXED, tensors)


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9))
def test_sigmoid_never_overflows(values: list[float]) -> None:
    logits = np.array(values)
    found = sigmoid(logits)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    np.testing.assert_allclose(found + sigmoid(-logits), 1.0, rtol=1e-12)
    small = np.abs(logits) < 500.0
    np.testing.assert_allclose(found[small], 1.0 / (1.0 + np.exp(-logits[small])), rtol=0.0, atol=1e-15)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(MAKE), st.sampled_from(SCHEMAS), st.integers(0, 200), st.integers(0, 10**6))
def test_the_score_of_one_row_is_that_of_a_batch_of_it(
    make: Callable[[FeatureSchema], Learner], schema: FeatureSchema, rows: int, seed: int
) -> None:
    learner = make(schema)
    learner.learn(toy_batch(schema, rows, seed))
    learner.flush()
    served, test = predictor(learner.kind, schema, learner.parameters()), toy_batch(schema, 20, seed + 1)
    assert isinstance(served, PredictsOne)
    columns = zip(test.numeric.tolist(), test.categorical.tolist(), strict=True)
    np.testing.assert_allclose([served.predict_one(*row) for row in columns], served.predict(test), atol=1e-6)


@pytest.mark.parametrize("number", [0.0, -0.0, 1e-300, -1e300, 1.7e308])
@pytest.mark.parametrize("signed_log", [False, True])
def test_one_row_of_extreme_numbers_scores_as_in_a_batch(number: float, signed_log: bool) -> None:
    learner = RiverLinear(MIXED, LinearSettings(batch_rows=16, signed_log=signed_log))
    learner.learn(toy_batch(MIXED, 100, 1))
    served: Any = predictor(learner.kind, MIXED, learner.parameters())
    batch = batch_from_columns(MIXED, [[number, 1.0, -number]], [["a"]])
    row = batch.numeric[0].tolist(), batch.categorical[0].tolist()
    assert served.predict_one(*row) == pytest.approx(served.predict(batch)[0], abs=1e-12)
