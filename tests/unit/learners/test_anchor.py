"""`Anchored`: the pull is what its formula says, parameters that matter are held harder, and an anchor can be set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rheostat.learners.anchor import Anchored, KnowsFisher
from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner, Tensors
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import select
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.surface import logits
from rheostat.learners.wrapper_settings import AnchorSettings
from rheostat.learners.wrapping import Adjustable
from tests.unit.learners.support import CATEGORICAL, MIXED, NUMERIC
from tests.unit.learners.timed import DAY_MS, at_times

STILL = LinearSettings(learning_rate=1e-12)
"""A learner that learns next to nothing, so that only the pull moves it."""

DEEP = DeepSettings(table_bits=6, dim=2, hidden=4, batch_rows=32)


def _linear(schema: FeatureSchema) -> Adjustable:
    return RiverLinear(schema)


def _deep(schema: FeatureSchema) -> Adjustable:
    return HashedMLP(schema, DEEP)


def _weights(learner: Learner) -> Floats:
    return np.asarray(learner.parameters()["weights"], np.float64)


def test_after_the_half_life_half_of_the_way_is_gone() -> None:
    learner = Anchored(lambda: RiverLinear(NUMERIC, STILL), AnchorSettings(half_life_rows=1_000, every_rows=100))
    learner.adjust({"weights": np.array([3.0, -1.0]), "intercept": np.array([2.0])})
    learner.anchor({"weights": np.array([1.0, 1.0]), "intercept": np.array([0.0])})
    learner.learn(toy_batch(NUMERIC, 1_099, 1))
    np.testing.assert_allclose(_weights(learner), [2.0, 0.0], atol=1e-6)
    assert float(learner.parameters()["intercept"][0]) == pytest.approx(1.0, abs=1e-6)


def test_a_strong_pull_leads_to_the_anchor_and_not_beyond() -> None:
    learner = Anchored(lambda: RiverLinear(NUMERIC, STILL), AnchorSettings(half_life_rows=1e-3, every_rows=10))
    learner.adjust({"weights": np.array([3.0, -1.0]), "intercept": np.array([2.0])})
    learner.learn(toy_batch(NUMERIC, 10, 1))
    np.testing.assert_allclose(_weights(learner), [0.0, 0.0], atol=1e-6)


def _other_task(rows: int, seed: int) -> Batch:
    """The label follows y alone, and x is always 0: nothing is said of x."""
    batch = toy_batch(NUMERIC, rows, seed)
    numeric = batch.numeric * np.array([0.0, 1.0])
    return replace(batch, numeric=numeric, label=(numeric[:, 1] > 0.0).astype(np.float64))


@pytest.mark.parametrize("make", [_linear, _deep])
def test_an_anchored_learner_stays_nearer_to_its_anchor(make: Callable[[FeatureSchema], Adjustable]) -> None:
    bare, anchored = make(NUMERIC), Anchored(lambda: make(NUMERIC), AnchorSettings(half_life_rows=1_000))
    test, distance = toy_batch(NUMERIC, 500, 3), []
    for learner in (bare, anchored):
        learner.learn(toy_batch(NUMERIC, 3_000, 1))
        if isinstance(learner, Anchored):
            learner.anchor()
        before = logits(learner.predict(test))
        learner.learn(_other_task(3_000, 2))
        distance.append(float(np.abs(logits(learner.predict(test)) - before).mean()))
    assert distance[1] < 0.7 * distance[0]


def test_an_anchor_can_be_the_parameters_of_a_version() -> None:
    """Those that a server has: names of `parameters`, with the scale among them, which is not held."""
    promoted = HashedMLP(MIXED, DEEP)
    promoted.learn(toy_batch(MIXED, 500, 1))
    learner = Anchored(lambda: HashedMLP(MIXED, DEEP), AnchorSettings(half_life_rows=1e-3, every_rows=10))
    learner.anchor(promoted.parameters())
    learner.learn(toy_batch(MIXED, 10, 2))
    for name, tensor in promoted.learned().items():
        np.testing.assert_allclose(learner.learned()[name], tensor, atol=1e-6)


def test_parameters_that_do_not_fit_are_refused_and_the_anchor_stays() -> None:
    learner = Anchored(lambda: RiverLinear(NUMERIC), AnchorSettings(elastic=True))
    learner.learn(toy_batch(NUMERIC, 100, 1))
    before = tensors_digest(learner.snapshot().tensors)
    with pytest.raises(ValueError, match="intercept"):
        learner.anchor({"weights": np.zeros(2)})
    assert tensors_digest(learner.snapshot().tensors) == before


@pytest.mark.parametrize("make", [_linear, _deep])
@pytest.mark.parametrize("schema", [NUMERIC, CATEGORICAL, MIXED], ids=lambda schema: schema.id)
def test_fisher_information_is_that_of_finite_differences(
    schema: FeatureSchema, make: Callable[[FeatureSchema], Adjustable]
) -> None:
    """p (1 - p) (d logit / d parameter)^2, each parameter moved a little by itself, a row at a time."""
    learner = make(schema)
    assert isinstance(learner, KnowsFisher)
    batch = toy_batch(schema, 40, 2)
    batch = replace(batch, categorical=batch.categorical * (np.arange(40) % 5 > 0)[:, None].astype(np.uint64))
    if len(schema.categorical) > 1:
        batch.categorical[:, 1] = 0  # two categories in one row of the table count as two, see `fisher`
    learner.learn(toy_batch(schema, 640, 1))
    found, start = learner.fisher(batch), learner.learned()
    scores = learner.predict(batch)
    for name, tensor in start.items():
        for index in range(0, tensor.size, max(tensor.size // 12, 1)):
            slopes = _slopes(learner, start, name, index, batch)
            expected = float((scores * (1.0 - scores) * slopes**2).mean())
            assert float(found[name].reshape(-1)[index]) == pytest.approx(expected, rel=0.05, abs=2e-4)


def _slopes(learner: Adjustable, start: Tensors, name: str, index: int, batch: Batch) -> Floats:
    said, step = [], 1e-3
    for sign in (1.0, -1.0):
        moved = {each: np.array(tensor) for each, tensor in start.items()}
        moved[name].reshape(-1)[index] += sign * step
        learner.adjust(moved)
        said.append(logits(learner.predict(batch)))
    learner.adjust(start)
    slopes: Floats = (said[0] - said[1]) / (2.0 * step)
    return slopes


def test_an_elastic_anchor_holds_what_its_rows_depend_on_and_lets_the_rest_go() -> None:
    """Rows in which y is constant say nothing of its weight: it may go where it likes."""
    learner = Anchored(lambda: RiverLinear(NUMERIC, STILL), AnchorSettings(1_000, elastic=True, every_rows=100))
    batch = toy_batch(NUMERIC, 1_000, 1)
    learner.learn(replace(batch, numeric=batch.numeric * np.array([1.0, 0.0])))
    learner.anchor()
    learner.adjust({"weights": np.array([1.0, 1.0]), "intercept": np.array([0.0])})
    learner.learn(replace(toy_batch(NUMERIC, 1_000, 2), numeric=batch.numeric * np.array([1.0, 0.0])))
    x, y = _weights(learner)
    assert x < 0.7
    assert y == pytest.approx(1.0, abs=1e-6)


def test_an_anchor_renews_itself_in_event_time() -> None:
    settings = AnchorSettings(1_000, every_rows=10_000, renew_ms=DAY_MS)
    learner = Anchored(lambda: RiverLinear(NUMERIC), settings)
    batch = toy_batch(NUMERIC, 400, 1)
    learner.learn(at_times(select(batch, slice(0, 200)), 10 * DAY_MS))
    assert (learner.snapshot().tensors["anchor.weights"] == 0.0).all()
    before = _weights(learner)
    learner.learn(at_times(select(batch, slice(200, 400)), 11 * DAY_MS))
    assert (learner.snapshot().tensors["anchor.weights"] == before).all()


def test_what_cannot_be_moved_or_has_no_fisher_information_is_refused() -> None:
    with pytest.raises(ValueError, match="ftrl"):
        Anchored(lambda: RiverLinear(NUMERIC, LinearSettings(optimizer="ftrl")))
    with pytest.raises(ValueError, match="Fisher"):
        Anchored(lambda: Anchored(lambda: RiverLinear(NUMERIC)), AnchorSettings(elastic=True))
