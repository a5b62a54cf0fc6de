"""`TwoTimescale`: a fad decays and leaves the core alone, a change gets there; a restart in a fad goes on exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import hash_value, select
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.logistic import sigmoid
from rheostat.learners.predictors import predictor
from rheostat.learners.surface import logits
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapper_settings import TICKS_PER_HALF_LIFE, TimescaleSettings
from tests.unit.learners.timed import DAY_MS, at_times

SCHEMA = FeatureSchema("topics@1", ("x",), ("topic",))
TOPICS = np.array([hash_value("topic", name) for name in ("a", "b", "c", "d")], np.uint64)
SETTINGS = TimescaleSettings(half_life_ms=DAY_MS, period_ms=DAY_MS, agreeing_periods=3, period_rows_min=10)
LINEAR = LinearSettings(learning_rate=0.1)
START_MS = 1_000 * DAY_MS
ROWS_A_DAY = 4_000


def _learner(settings: TimescaleSettings = SETTINGS) -> TwoTimescale:
    return TwoTimescale(lambda: RiverLinear(SCHEMA, LINEAR), settings)


def _day(day: int, terms: tuple[float, ...], shares: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> Batch:
    """A day of rows, in order of time: each topic has its share of them and its log odds."""
    random = np.random.default_rng(day)
    topic = random.choice(4, ROWS_A_DAY, p=shares)
    label = (random.random(ROWS_A_DAY) < sigmoid(np.array(terms)[topic])).astype(np.float64)
    batch = Batch(SCHEMA.id, random.normal(size=(ROWS_A_DAY, 1)), TOPICS[topic][:, None], label, np.ones(ROWS_A_DAY))
    return at_times(batch, START_MS + day * DAY_MS + np.sort(random.integers(0, DAY_MS, ROWS_A_DAY)))


def _says(model: Predictor, topic: int) -> float:
    batch = Batch(SCHEMA.id, np.zeros((1, 1)), TOPICS[[topic]][:, None], np.zeros(1), np.zeros(1))
    return float(logits(model.predict(batch))[0])


def _settled() -> TwoTimescale:
    """Six days in which topic a is disliked and the others are not."""
    learner = _learner()
    for day in range(6):
        learner.learn(_day(day, (-1.0, 1.0, 0.0, 0.5)))
    return learner


FAD = _day(6, (2.0, 1.0, 0.0, 0.5))
QUIET = (0.0, 1 / 3, 1 / 3, 1 / 3)


def test_a_fad_of_a_day_decays_by_half_in_every_half_life_and_leaves_the_core_alone() -> None:
    learner = _settled()
    before, core_before = _says(learner, 0), _says(learner.core(), 0)
    learner.learn(FAD)
    jump, surface = _says(learner, 0) - before, _says(learner, 0) - _says(learner.core(), 0)
    assert jump > 2.0
    for days in (1, 2, 3):
        learner.learn(_day(6 + days, (-1.0, 1.0, 0.0, 0.5), QUIET))  # nobody asks for it any more
        left = _says(learner, 0) - _says(learner.core(), 0)
        assert left / surface == pytest.approx(0.5**days, abs=0.1)
        assert _says(learner.core(), 0) - core_before < 0.1 * jump
    assert _says(learner, 0) - before < 0.15 * jump


def test_without_a_surface_the_same_fad_stays() -> None:
    """What the wrapper is for: the learner inside keeps the fad for as long as nobody asks again."""
    learner = RiverLinear(SCHEMA, LINEAR)
    for day in range(6):
        learner.learn(_day(day, (-1.0, 1.0, 0.0, 0.5)))
    before = _says(learner, 0)
    learner.learn(FAD)
    jump = _says(learner, 0) - before
    for day in range(7, 11):
        learner.learn(_day(day, (-1.0, 1.0, 0.0, 0.5), QUIET))
    assert _says(learner, 0) - before > 0.5 * jump


def test_a_change_that_lasts_gets_to_the_core_and_stays_when_nobody_asks_any_more() -> None:
    learner = _settled()
    core_before = _says(learner.core(), 0)
    core = []
    for day in range(6, 11):
        learner.learn(_day(day, (2.0, 1.0, 0.0, 0.5)))
        core.append(_says(learner.core(), 0))
    assert abs(core[1] - core_before) < 0.3  # two days agree: that may still be a fad
    assert core[-1] == pytest.approx(2.0, abs=0.4)
    for day in range(11, 17):
        learner.learn(_day(day, (2.0, 1.0, 0.0, 0.5), QUIET))
    assert _says(learner, 0) == pytest.approx(2.0, abs=0.4)


def test_a_restart_in_the_middle_of_a_fad_goes_on_to_the_bit() -> None:
    learner, restored = _settled(), _learner()
    learner.learn(FAD)
    restored.restore(learner.snapshot())
    assert restored.metrics() == learner.metrics()
    for each in (learner, restored):
        for day in range(7, 12):
            each.learn(_day(day, (-1.0, 1.0, 0.0, 0.5), QUIET))
        each.flush()
    assert tensors_digest(restored.snapshot().tensors) == tensors_digest(learner.snapshot().tensors)


def test_what_the_core_takes_the_model_keeps_saying() -> None:
    """The first row of the fourth day ends the third period: the core takes its share, and what is served stays."""
    learner, never = _learner(), _learner(replace(SETTINGS, agreeing_periods=64))
    terms = (-1.0, 1.0, 0.0, 0.5)
    for each in (learner, never):
        for batch in (*(_day(day, terms) for day in range(3)), select(_day(3, terms), slice(0, 20))):
            each.learn(batch)
    assert learner.core().predict(FAD).std() > 0.05
    assert never.core().predict(FAD).std() == 0.0
    assert (learner.predict(FAD) == never.predict(FAD)).all()


def test_the_surface_against_the_core_rises_with_a_fad_and_names_its_feature() -> None:
    learner = _settled()
    usual = learner.metrics()["surface_against_core"]
    learner.learn(FAD)
    assert learner.metrics()["surface_against_core"] > usual + 0.4
    assert next(iter(learner.features_moved())) == "topic"


def test_a_model_is_served_as_the_learner_inside() -> None:
    learner = _settled()
    served = predictor(learner.kind, SCHEMA, learner.parameters())
    assert learner.kind == "linear/1"
    np.testing.assert_allclose(served.predict(FAD), learner.predict(FAD), atol=1e-12)


def test_a_wrong_time_costs_one_tick() -> None:
    learner, right = _settled(), _settled()
    for each in (learner, right):
        each.learn(select(FAD, slice(0, ROWS_A_DAY // 3)))
    late = at_times(toy_batch(SCHEMA, 1, 1), START_MS + 10_000 * DAY_MS)
    learner.learn(late)
    right.learn(at_times(late, START_MS + 6 * DAY_MS))
    one_tick = 2.0 ** (-1.0 / TICKS_PER_HALF_LIFE)
    surface = _surface(learner), _surface(right)
    np.testing.assert_allclose(surface[0], surface[1] * one_tick, rtol=1e-9)


def test_rows_without_times_let_nothing_decay() -> None:
    learner = _settled()
    before = _surface(learner)
    batch = replace(toy_batch(SCHEMA, 1_000, 3), context=None)
    learner.learn(replace(batch, weight=np.zeros(1_000)))
    assert (_surface(learner) == before).all()
    bare = RiverLinear(SCHEMA, LINEAR)
    timeless = _learner()
    for each in (bare, timeless):
        each.learn(batch)
        each.flush()
    assert (timeless.predict(batch) == bare.predict(batch)).all()


def test_what_a_table_unlearns_by_decay_is_told() -> None:
    """Rows of a table that only decay touched are among those that a delta carries."""
    settings = DeepSettings(table_bits=4, dim=2, hidden=4, batch_rows=32)
    learner = TwoTimescale(lambda: HashedMLP(SCHEMA, settings), SETTINGS)
    learner.learn(FAD)
    learner.touched_rows()
    before = np.array(learner.parameters()["table"])
    learner.learn(at_times(Batch(SCHEMA.id, np.zeros((1, 1)), np.zeros((1, 1), np.uint64), *np.ones((2, 1))), LATER_MS))
    changed = np.flatnonzero((np.array(learner.parameters()["table"]) != before).any(axis=1))
    assert len(changed) >= 2
    assert set(changed.tolist()) <= set(learner.touched_rows()["table"].tolist())


LATER_MS = START_MS + 8 * DAY_MS


def _surface(learner: TwoTimescale) -> Floats:
    """The surface of the weights."""
    tensors = learner.snapshot().tensors
    weights, core = (np.asarray(tensors[f"{part}.weights"], np.float64) for part in ("learner", "core"))
    return weights - core
