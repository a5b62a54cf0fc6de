"""Ablation: what tells the label is worth much, noise is worth nothing, and of two copies neither adds anything."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.learners.ablation import ablate, each_of, finite, value_of
from rheostat.learners.batch_means import Interval
from rheostat.learners.contract import Batch, FeatureSchema, Learner
from rheostat.learners.features import hash_columns, select
from rheostat.learners.linear import RiverLinear

SCHEMA = FeatureSchema("toy@1", ("signal", "noise", "one", "twin"), ("colour",))
ROWS, BLOCK = 4_000, 200


def new_learner() -> Learner:
    return RiverLinear(SCHEMA)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """`signal`, `one` and `colour` make the label; `twin` is `one`."""
    random = np.random.default_rng(0)
    signal, noise, one = random.normal(size=(3, ROWS))
    red = random.random(ROWS) < 0.5
    chance = 1.0 / (1.0 + np.exp(-(2.0 * signal + 1.5 * one + 2.0 * red - 1.0)))
    label = (random.random(ROWS) < chance).astype(np.float64)
    colours = np.where(red, "red", "blue").tolist()
    numeric = np.column_stack([signal, noise, one, one])
    return Batch(SCHEMA.id, numeric, hash_columns(SCHEMA, [colours], ROWS), label, np.ones(ROWS))


WITHOUT: list[tuple[str, ...]] = [(), ("signal",), ("noise",), ("one",), ("twin",), ("one", "twin"), ("colour",)]


@pytest.fixture(scope="module")
def values(batch: Batch) -> dict[tuple[str, ...], tuple[Interval, Interval]]:
    scores = ablate(new_learner, batch, WITHOUT, BLOCK)
    found = [value_of(names, batch, scores[0], score, 0.99) for names, score in zip(WITHOUT, scores, strict=True)]
    assert all(each.auc is not None for each in found)
    return {each.features: (each.nats, each.auc) for each in found if each.auc is not None}


@pytest.mark.parametrize("names", [("signal",), ("one", "twin"), ("colour",)])
def test_what_makes_the_label_is_surely_worth_something(
    values: dict[tuple[str, ...], tuple[Interval, Interval]], names: tuple[str, ...]
) -> None:
    nats, auc = values[names]
    assert nats.lower > 0.02
    assert auc.lower > 0.01


@pytest.mark.parametrize("names", [("noise",), ("one",), ("twin",)])
def test_noise_and_either_of_two_copies_add_nothing(
    values: dict[tuple[str, ...], tuple[Interval, Interval]], names: tuple[str, ...]
) -> None:
    nats, auc = values[names]
    assert abs(nats.mean) < 0.003
    assert nats.upper < 0.01
    assert abs(auc.mean) < 0.003


def test_nothing_left_out_loses_exactly_nothing(values: dict[tuple[str, ...], tuple[Interval, Interval]]) -> None:
    assert values[()] == (Interval(0.0, 0.0, 0.0, 40), Interval(0.0, 0.0, 0.0, 40))


def test_every_row_is_scored_before_it_is_learned(batch: Batch) -> None:
    (scores,) = ablate(new_learner, batch, [()], BLOCK)
    learner = new_learner()
    for start in range(0, ROWS, BLOCK):
        block = select(batch, slice(start, start + BLOCK))
        assert learner.predict(block).tolist() == scores[start : start + BLOCK].tolist()
        learner.learn(block)
        learner.flush()


def test_what_is_left_out_has_no_part_in_any_score(batch: Batch) -> None:
    """Whatever its values are later on."""
    other = Batch(batch.schema_id, batch.numeric.copy(), batch.categorical.copy(), batch.label, batch.weight)
    other.numeric[BLOCK:, 0] = 1e6
    other.categorical[BLOCK:, 0] = 7
    asked = [("signal", "colour")]
    assert ablate(new_learner, batch, asked, BLOCK).tolist() == ablate(new_learner, other, asked, BLOCK).tolist()


def test_an_unknown_feature_is_named(batch: Batch) -> None:
    with pytest.raises(ValueError, match="'shoe' is no feature of toy@1"):
        ablate(new_learner, batch, [("shoe",)], BLOCK)


def test_intervals_that_hold_all_at_once_are_wider_each() -> None:
    assert each_of(0.95, 10) == pytest.approx(0.995)
    assert each_of(0.95, 0) == 0.95


def test_json_has_no_infinity() -> None:
    assert finite(Interval(1.0, -np.inf, np.inf, 0)) == {"mean": 1.0, "lower": None, "upper": None, "batches": 0}
    assert finite(None)["mean"] is None
