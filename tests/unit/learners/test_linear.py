"""`RiverLinear` learns as River does, survives what would break River, and weighs rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import linear_model, optim, preprocessing

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import select
from rheostat.learners.linear import LinearSettings, Optimizer, RiverLinear
from rheostat.learners.logistic import linear_columns, one_hot
from rheostat.learners.prequential import roc_auc
from rheostat.learners.running_scale import RunningScale
from tests.unit.learners.support import MIXED, NUMERIC, phishing, prequential_auc, schema_of, wiki_edits

OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adagrad", "adam", "ftrl")


def _river(optimizer: Optimizer) -> Any:
    made = {
        "sgd": optim.SGD(0.3),
        "adagrad": optim.AdaGrad(0.3),
        "adam": optim.Adam(0.3),
        "ftrl": optim.FTRLProximal(0.3, l2=0.0),
    }[optimizer]
    return linear_model.LogisticRegression(made, l2=0.01, intercept_lr=0.3)


@pytest.mark.parametrize("schema", [NUMERIC, MIXED], ids=["numbers", "categories too"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_rivers(optimizer: Optimizer, schema: FeatureSchema) -> None:
    """The same micro-batches through River, each in a frame of its own, and with a restart in between."""
    settings = LinearSettings(optimizer=optimizer, learning_rate=0.3, l2=0.01, batch_rows=20, weight_max=1.5)
    learner, river = RiverLinear(schema, settings), _river(optimizer)
    columns = linear_columns(schema, settings.categorical_bins)
    scale = RunningScale(columns, signed_log=True, clip=5.0)
    batch = toy_batch(schema, 210, 1)
    for number, start in enumerate(range(0, 210, 20)):
        part = select(batch, slice(start, start + 20))
        learner.learn(part)
        inputs = one_hot(part, settings.categorical_bins)
        scale.update(inputs)
        frame = pd.DataFrame(scale.frozen().apply(inputs), columns=[f"x{column}" for column in range(columns)])
        weight = pd.Series(np.minimum(part.weight, 1.5))
        if number == 10:
            learner.flush()
        river.learn_many(frame, pd.Series(part.label), weight)
        if number == 5:
            snapshot = learner.snapshot()
            learner = RiverLinear(schema, settings)
            learner.restore(snapshot)
    weights = np.asarray(learner.parameters()["weights"], np.float64)
    assert np.abs(weights).max() > 0.1
    np.testing.assert_allclose(weights, [river.weights[f"x{column}"] for column in range(columns)], rtol=1e-11)
    assert float(learner.parameters()["intercept"][0]) == pytest.approx(float(river.intercept), rel=1e-11)


def _bare_river_auc(batch: Batch) -> float:
    """River as its documentation shows it: row by row, standardised."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))
    scores = []
    for x, label in zip(batch.numeric.tolist(), batch.label.tolist(), strict=True):
        row = dict(enumerate(x))
        scores.append(model.predict_proba_one(row).get(True, 0.5))
        model.learn_one(row, label > 0.5)
    auc = roc_auc(np.array(scores), batch.label)
    assert auc is not None
    return auc


def test_phishing_is_learned_as_well_as_by_bare_river() -> None:
    batch = phishing()
    assert prequential_auc(RiverLinear(schema_of(batch)), batch, 32) >= _bare_river_auc(batch) - 0.005


def test_wiki_edits_are_learned_as_well_as_by_bare_river() -> None:
    batch = wiki_edits()
    assert prequential_auc(RiverLinear(schema_of(batch)), batch, 32) >= _bare_river_auc(batch) - 0.005


def test_labels_between_zero_and_one_pull_to_their_value() -> None:
    learner = RiverLinear(NUMERIC)
    batch = toy_batch(NUMERIC, 5_000, 2)
    learner.learn(replace(batch, label=np.full(5_000, 0.3), weight=np.ones(5_000)))
    assert float(learner.predict(toy_batch(NUMERIC, 500, 3)).mean()) == pytest.approx(0.3, abs=0.02)


def test_a_weight_multiplies_the_step_of_its_row() -> None:
    """One step from zero: the intercept moves by rate * mean(weight * (label - 1/2))."""
    settings = LinearSettings(batch_rows=4, learning_rate=0.1)
    learner = RiverLinear(NUMERIC, settings)
    weight: Floats = np.array([1.0, 2.0, 0.5, 100.0])
    label: Floats = np.array([1.0, 1.0, 0.0, 0.0])
    learner.learn(replace(toy_batch(NUMERIC, 4, 4), label=label, weight=weight))
    expected = 0.1 * (1.0 * 0.5 + 2.0 * 0.5 - 0.5 * 0.5 - 10.0 * 0.5) / 4
    assert float(learner.parameters()["intercept"][0]) == pytest.approx(expected)


def test_rows_that_wait_have_no_part_in_scores() -> None:
    learner, batch = RiverLinear(NUMERIC, LinearSettings(batch_rows=64)), toy_batch(NUMERIC, 64, 5)
    learner.learn(select(batch, slice(0, 63)))
    assert (learner.predict(batch) == 0.5).all()
    learner.learn(select(batch, slice(63, 64)))
    assert (learner.predict(batch) != 0.5).all()


def test_rows_that_wait_are_part_of_the_snapshot() -> None:
    learner, restored, batch = RiverLinear(MIXED), RiverLinear(MIXED), toy_batch(MIXED, 100, 6)
    learner.learn(select(batch, slice(0, 50)))
    restored.restore(learner.snapshot())
    for each in (learner, restored):
        each.learn(select(batch, slice(50, 100)))
        each.flush()
    assert tensors_digest(restored.snapshot().tensors) == tensors_digest(learner.snapshot().tensors)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_to_infinity_is_undone_and_counted(optimizer: Optimizer) -> None:
    settings = LinearSettings(optimizer=optimizer, learning_rate=1e308, l2=1e10, batch_rows=8, weight_max=1e308)
    learner = RiverLinear(NUMERIC, settings)
    batch = toy_batch(NUMERIC, 80, 7)
    learner.learn(replace(batch, weight=np.full(80, 1e308)))
    assert learner.steps_undone > 0
    assert all(np.isfinite(tensor).all() for tensor in learner.snapshot().tensors.values())
    assert np.isfinite(learner.predict(batch)).all()


@pytest.mark.parametrize("broken", ["weight", "intercept", "state"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_enough_to_undo_a_step(monkeypatch: pytest.MonkeyPatch, broken: str, value: float) -> None:
    learner = RiverLinear(NUMERIC, LinearSettings(optimizer="adam", batch_rows=8))
    learner.learn(toy_batch(NUMERIC, 8, 9))
    before = {name: tensor.tobytes() for name, tensor in learner.snapshot().tensors.items()}
    descent = learner._descent
    adam: Any = descent._optimizer

    def explode(*_: Any) -> None:
        descent.weights[1] = value if broken == "weight" else 3.0
        adam.m = np.array([value if broken == "state" else 3.0, 0.0])
        adam.n_iterations += 1

    monkeypatch.setattr(descent, "step", explode)
    if broken == "intercept":
        monkeypatch.setattr(learner, "_intercept_rate", value)
    learner.learn(toy_batch(NUMERIC, 8, 10))
    assert learner.steps_undone == 1
    after = learner.snapshot().tensors
    kept = ("weights", "intercept", "optimizer.m", "optimizer.v")
    assert [after[name].tobytes() for name in kept] == [before[name] for name in kept]


def test_a_snapshot_of_other_settings_is_refused_and_changes_nothing() -> None:
    learner = RiverLinear(NUMERIC, LinearSettings(batch_rows=16))
    learner.learn(toy_batch(NUMERIC, 40, 8))
    before = tensors_digest(learner.snapshot().tensors)
    with pytest.raises(ValueError, match='"batch_rows":32'):
        learner.restore(RiverLinear(NUMERIC).snapshot())
    broken = dict(learner.snapshot().tensors)
    del broken["pending.weight"]
    with pytest.raises(ValueError, match=r"pending\.weight"):
        learner.restore(Snapshot(learner.kind, NUMERIC.id, broken))
    assert tensors_digest(learner.snapshot().tensors) == before


def test_unknown_optimizers_are_refused() -> None:
    with pytest.raises(ValueError, match="optimizer must be one of"):
        RiverLinear(NUMERIC, LinearSettings(optimizer="newton"))  # type: ignore[arg-type]
