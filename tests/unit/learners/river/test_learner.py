"""`RiverLearner` gives River the rows as they are meant, answers as River does, and can be served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import ensemble, forest, linear_model, naive_bayes, optim, preprocessing, tree

from rheostat.learners.checks import check_learner, toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Snapshot, Tensors
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import select
from rheostat.learners.predictors import predictor
from rheostat.learners.river.build import Spec
from rheostat.learners.river.exported import RIVER, RIVER_FM, RIVER_GAUSSIAN_NB, RIVER_LINEAR
from rheostat.learners.river.inputs import times
from rheostat.learners.river.learner import RiverLearner
from rheostat.learners.river.settings import RiverSettings
from tests.support.river_catalogue import LEARNS, LINEAR, NUMBER, SCALED, TREE, WEIGHT, river
from tests.unit.learners.support import (
    ANY_SPEED,
    CATEGORICAL,
    MIXED,
    NUMERIC,
    SCHEMAS,
    prequential_auc,
    schema_of,
    wiki_edits,
)

NAIVE = river("naive_bayes.GaussianNB")
FM = river("facto.FMClassifier", n_factors=3)
FTRL = river("linear_model.LogisticRegression", optimizer=river("optim.FTRLProximal"))
HINGE = river("linear_model.LogisticRegression", loss=river("optim.losses.Hinge"))
HIGH = river("linear_model.LogisticRegression", initializer=river("optim.initializers.Constant", value=0.5))
SCALED_HIGH = {"steps": [river("preprocessing.StandardScaler"), HIGH]}
BAGGING = river("ensemble.BaggingClassifier", model=TREE, n_models=3)


def learner(spec: Spec, schema: FeatureSchema = NUMERIC, **settings: Any) -> RiverLearner:
    return RiverLearner(schema, RiverSettings(spec, **settings))


def ones(batch: Batch) -> Batch:
    return replace(batch, weight=np.ones(len(batch)))


BARE: dict[str, tuple[Any, Spec]] = {
    "pipeline": (
        preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.05)),
        {
            "steps": [
                river("preprocessing.StandardScaler"),
                river("linear_model.LogisticRegression", optimizer=river("optim.Adam", lr=0.05)),
            ]
        },
    ),
    "tree": (tree.HoeffdingTreeClassifier(grace_period=50), TREE),
    "bagging": (ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(grace_period=50), n_models=3, seed=1), BAGGING),
    "forest": (forest.ARFClassifier(n_models=3, seed=1), river("forest.ARFClassifier", n_models=3)),
    "naive Bayes": (naive_bayes.GaussianNB(), NAIVE),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("what", BARE)
def test_scores_are_those_of_bare_river(what: str) -> None:
    bare, spec = BARE[what]
    made = learner(spec, batch_rows=1, signed_log=False)
    batch, test = ones(toy_batch(NUMERIC, 400, 1)), toy_batch(NUMERIC, 50, 2)
    made.learn(batch)
    for (x, y), label in zip(batch.numeric.tolist(), batch.label.tolist(), strict=True):
        bare.learn_one({"x": x, "y": y}, label > 0.5)
    expected = [bare.predict_proba_one({"x": x, "y": y}).get(True, 0.0) for x, y in test.numeric.tolist()]
    assert made.predict(test).tolist() == expected


def test_an_untrained_learner_says_nothing() -> None:
    for spec in (TREE, FM, NUMBER, BAGGING, river("neighbors.KNNRegressor", engine=river("neighbors.LazySearch"))):
        assert learner(spec).predict(toy_batch(NUMERIC, 3, 1)).tolist() == [0.5] * 3


@pytest.mark.parametrize("spec", [SCALED, TREE, FM, NAIVE, NUMBER], ids=lambda spec: str(spec)[:40])
@pytest.mark.parametrize("schema", [CATEGORICAL, MIXED])
def test_every_law_is_kept_with_categories(spec: Spec, schema: FeatureSchema) -> None:
    excused = dict.fromkeys([LEARNS, WEIGHT] if spec in (TREE, NAIVE) else [], "for other rows than 0/1 inputs")
    check_learner(lambda: learner(spec, schema, categorical_bins=4), predictor, excused=excused)


@pytest.mark.parametrize("spec", [SCALED, NUMBER], ids=lambda spec: str(spec)[:40])
def test_every_law_is_kept_in_batches_too(spec: Spec) -> None:
    check_learner(lambda: learner(spec, batch_rows=16), predictor)


def test_by_default_rows_go_in_batches_where_that_learns_the_same() -> None:
    assert learner(NAIVE)._batched
    assert not learner(LINEAR)._batched
    assert learner(LINEAR, batch_rows=2)._batched


def test_edits_are_learned_as_well_as_by_bare_river() -> None:
    """Bare River, row by row, labels 200 rows late, on features with signed logarithms: 0.81."""
    batch = wiki_edits()
    assert prequential_auc(learner(SCALED, schema_of(batch)), batch, 200) >= 0.805


def test_categories_can_stay_values() -> None:
    """A tree splits on them, and an encoder of River's makes its own inputs of them."""
    encoded = {"steps": [river("preprocessing.OneHotEncoder"), LINEAR]}
    for spec, excused in ((TREE, {WEIGHT: "it splits elsewhere then"}), (encoded, {})):
        check_learner(
            lambda spec=spec: learner(spec, CATEGORICAL, categories="values", categorical_bins=8),  # type: ignore[misc]
            predictor,
            excused=excused,
        )
    made = learner(TREE, MIXED, categories="values", categorical_bins=5)
    batch = toy_batch(MIXED, 1, 1)
    missing = replace(batch, categorical=np.zeros_like(batch.categorical))
    assert list(made._inputs.rows(missing)[0]) == ["x", "y", "z", "c"]
    assert made._inputs.rows(missing)[0]["c"] == "-"
    assert made._inputs.rows(batch)[0]["c"] == str(int(batch.categorical[0, 0] % np.uint64(5)))


def test_a_label_of_a_half_is_positive_and_a_regressor_takes_it_as_it_is() -> None:
    batch = ones(toy_batch(NUMERIC, 600, 3))
    halves = replace(batch, label=np.full(600, 0.5))
    classifier, regressor = learner(river("dummy.PriorClassifier")), learner(NUMBER)
    for each in (classifier, regressor):
        each.learn(halves)
    assert classifier.predict(batch)[0] == 1.0
    assert float(regressor.predict(batch).mean()) == pytest.approx(0.5, abs=0.05)


def test_answers_of_a_regressor_are_cut() -> None:
    made = learner(NUMBER, signed_log=False)
    batch = ones(toy_batch(NUMERIC, 500, 4))
    made.learn(batch)
    far = made.predict(replace(batch, numeric=batch.numeric * 1e6))
    assert {0.0, 1.0} == set(far.tolist())


def test_a_detector_finds_the_unusual() -> None:
    for name in ("anomaly.HalfSpaceTrees", "anomaly.LODA", "anomaly.OneClassSVM"):
        made = learner({"steps": [river("preprocessing.MinMaxScaler"), river(name)]})
        batch = toy_batch(NUMERIC, 1_500, 5)
        made.learn(batch)
        usual = made.predict(select(batch, slice(0, 50)))
        unusual = made.predict(replace(select(batch, slice(0, 50)), numeric=np.full((50, 2), 1e3)))
        assert float(unusual.mean()) > float(usual.mean()), name


@ANY_SPEED
@given(st.floats(0.0, 20.0), st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_row_is_learned_as_often_as_it_weighs(weight: float, first: int, seed: int) -> None:
    found = times(np.full(4_000, weight), first, seed)
    assert set(found.tolist()) <= {int(weight), int(weight) + 1}
    # Four standard deviations of the mean of 4 000 draws of at most 1/2 each.
    assert float(found.mean()) == pytest.approx(weight, abs=4 * 0.5 / 4_000**0.5)


def test_whole_weights_leave_nothing_to_chance() -> None:
    weight = np.arange(5.0)
    assert times(weight, 7, 1).tolist() == times(weight, 8, 2).tolist() == [0, 1, 2, 3, 4]


def test_chance_meets_no_pattern_in_the_order_of_rows() -> None:
    """Rows of weight 1/2 whose labels take turns: both labels are learned, as often."""
    found = times(np.full(10_000, 0.5), 0, 1)
    assert found[::2].mean() == pytest.approx(0.5, abs=0.03)
    assert found[1::2].mean() == pytest.approx(0.5, abs=0.03)


def test_chance_depends_on_the_row_and_not_on_how_rows_are_handed_over() -> None:
    weight = np.full(100, 0.3)
    whole = times(weight, 0, 1)
    assert [*times(weight[:37], 0, 1), *times(weight[37:], 37, 1)] == whole.tolist()


def test_weights_above_the_limit_count_as_it() -> None:
    light, heavy = (learner(BAGGING, weight_max=4.0) for _ in range(2))
    batch = toy_batch(NUMERIC, 100, 6)
    light.learn(replace(batch, weight=np.full(100, 4.0)))
    heavy.learn(replace(batch, weight=np.full(100, 1e9)))
    assert tensors_digest(light.snapshot().tensors) == tensors_digest(heavy.snapshot().tensors)


def test_rows_on_which_arithmetic_fails_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(TREE)

    def fail(*_: Any, **__: Any) -> None:
        raise OverflowError

    monkeypatch.setattr(type(made._estimator), "learn_one", fail)
    made.learn(toy_batch(NUMERIC, 7, 7))
    assert made.rows_failed == 7
    assert made.snapshot().tensors["counters"].tolist() == [7, 7, 7]


EXPORTS: dict[str, tuple[Spec, str, dict[str, Any]]] = {
    "logistic": (LINEAR, RIVER_LINEAR, {"batch_rows": 32}),
    "logistic by rows": (LINEAR, RIVER_LINEAR, {}),
    "standardised": (SCALED, RIVER_LINEAR, {"batch_rows": 32}),
    "standardised by rows": (SCALED, RIVER_LINEAR, {}),
    "inputs that never varied": (SCALED_HIGH, RIVER_LINEAR, {}),
    "inputs that never varied, in batches": (SCALED_HIGH, RIVER_LINEAR, {"batch_rows": 32}),
    "min-max": ({"steps": [river("preprocessing.MinMaxScaler"), LINEAR]}, RIVER_LINEAR, {}),
    "max-abs": ({"steps": [river("preprocessing.MaxAbsScaler"), LINEAR]}, RIVER_LINEAR, {}),
    "only centred": ({"steps": [river("preprocessing.StandardScaler", with_std=False), LINEAR]}, RIVER_LINEAR, {}),
    "linear regression": (NUMBER, RIVER_LINEAR, {"signed_log": False}),
    "FTRL": (FTRL, RIVER_LINEAR, {"batch_rows": 8}),
    "L1": (river("linear_model.LogisticRegression", l1=0.01), RIVER_LINEAR, {}),
    "multinomial": (river("naive_bayes.MultinomialNB"), RIVER_LINEAR, {}),
    "gaussian": (NAIVE, RIVER_GAUSSIAN_NB, {}),
    "gaussian by rows": (NAIVE, RIVER_GAUSSIAN_NB, {"batch_rows": 1}),
    "FM": (FM, RIVER_FM, {}),
    "FM regression": (river("facto.FMRegressor", n_factors=2), RIVER_FM, {}),
    "hinge loss": (HINGE, RIVER, {"batch_rows": 9}),
    "rolling scale": (
        {"steps": [river("preprocessing.StandardScaler", window_size=9), LINEAR]}, RIVER, {"batch_rows": 4}
    ),
    "normalised FM": (river("facto.FMClassifier", sample_normalization=True), RIVER, {}),
    "two scalers": ({"steps": [*SCALED["steps"][:1], *SCALED["steps"]]}, RIVER, {}),
    "multinomial behind a scaler": (
        {"steps": [river("preprocessing.MaxAbsScaler"), river("naive_bayes.MultinomialNB")]}, RIVER, {}
    ),
    "tree": (TREE, RIVER, {}),
}  # fmt: skip


@pytest.mark.parametrize("what", EXPORTS)
@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("rows", [0, 1, 100])
def test_served_scores_are_the_learners(what: str, schema: FeatureSchema, rows: int) -> None:
    """After rows of one class alone too, and for values far from any that was learned."""
    spec, kind, settings = EXPORTS[what]
    made = learner(spec, schema, **settings)
    assert made.kind == kind
    made.learn(toy_batch(schema, rows, 8))
    made.flush()
    test = toy_batch(schema, 40, 9)
    test = replace(test, numeric=test.numeric * np.array([[1.0]] * 20 + [[1e18]] * 20))
    served = predictor(made.kind, schema, made.parameters())
    np.testing.assert_allclose(served.predict(test), made.predict(test), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("what", ["standardised", "gaussian", "FM"])
def test_exported_parameters_that_do_not_fit_are_refused(what: str) -> None:
    made = learner(EXPORTS[what][0], MIXED)
    good = dict(made.parameters())
    for name, tensor in good.items():
        for broken in (None, tensor.astype(np.int8), np.zeros((7, 7, 7))):
            wrong: Tensors = {key: value for key, value in {**good, name: broken}.items() if value is not None}
            with pytest.raises(ValueError, match="tensor"):
                predictor(made.kind, MIXED, wrong)


def test_a_state_of_another_river_is_not_served() -> None:
    tensors = dict(learner(TREE).parameters())
    text = tensors["settings"].tobytes().replace(b'"river":"0.', b'"river":"9.')
    with pytest.raises(ValueError, match=r"state of River 9\."):
        predictor(RIVER, NUMERIC, {**tensors, "settings": np.frombuffer(text, np.uint8)})
    for broken in (
        {**tensors, "settings": np.zeros(3, np.uint8)},
        {k: v for k, v in tensors.items() if k != "settings"},
    ):
        with pytest.raises(ValueError, match="settings"):
            predictor(RIVER, NUMERIC, broken)


def test_a_snapshot_of_other_settings_is_refused_and_changes_nothing() -> None:
    made = learner(TREE)
    made.learn(toy_batch(NUMERIC, 50, 10))
    before = tensors_digest(made.snapshot().tensors)
    other = learner(TREE, seed=2).snapshot()
    with pytest.raises(ValueError, match='"seed":2'):
        made.restore(other)
    mixed = {**made.snapshot().tensors, **{k: v for k, v in learner(LINEAR).snapshot().tensors.items() if "state" in k}}
    with pytest.raises(ValueError, match="LogisticRegression"):
        made.restore(Snapshot(RIVER, NUMERIC.id, mixed))
    assert tensors_digest(made.snapshot().tensors) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_rows": 8}, "row by row"),
        ({"categories": "words"}, "categories must be"),
        ({"categorical_bins": 0}, "categorical_bins"),
        ({"weight_max": 0.0}, "weight_max"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(TREE, **settings)
