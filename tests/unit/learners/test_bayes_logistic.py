"""`BayesLogistic` keeps every law, bends, crosses and follows, and says what it cannot take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from river import datasets

from rheostat.learners.bayes_logistic import BayesLogistic, BayesSettings
from rheostat.learners.checks import check_learner, toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Snapshot
from rheostat.learners.features import batch_from_columns, select
from rheostat.learners.predictors import predictor
from tests.unit.learners.support import (
    CATEGORICAL,
    MIXED,
    NUMERIC,
    SCHEMAS,
    phishing,
    prequential_auc,
    schema_of,
    wiki_edits,
)

SMALL = BayesSettings(table_bits=8)
OF_NOTHING = FeatureSchema("nothing@1")


@pytest.mark.parametrize("schema", [*SCHEMAS, OF_NOTHING])
def test_it_keeps_every_law(schema: FeatureSchema) -> None:
    check_learner(lambda: BayesLogistic(schema, SMALL), predictor)


@pytest.mark.parametrize(
    "settings",
    [
        replace(SMALL, batch_rows=50, memory_rows=500.0),
        pytest.param(replace(SMALL, batch_rows=7, memory_rows=500.0), marks=pytest.mark.slow),
        pytest.param(replace(SMALL, batch_rows=1), marks=pytest.mark.slow),
        replace(SMALL, steps=0, waves=0, bins=0, pairs_max=0, signed_log=False),
    ],
)
def test_it_keeps_every_law_with_other_settings(settings: BayesSettings) -> None:
    check_learner(lambda: BayesLogistic(MIXED, settings), predictor)


def test_phishing_and_wiki_edits_are_learned_as_well_as_by_rivers_best() -> None:
    """River's best of ten in this order with no delay: 0.963 and 0.827 (`rheostat bench quality --delay 0`)."""
    for batch, best in ((phishing(), 0.963), (wiki_edits(), 0.83)):
        assert prequential_auc(BayesLogistic(schema_of(batch)), batch, 32) >= best


def test_what_no_line_divides_is_learned() -> None:
    rows = [(list(x.values()), float(y)) for x, y in datasets.Bananas()]  # type: ignore[no-untyped-call]
    batch = batch_from_columns(NUMERIC, [x for x, _ in rows], [], [y for _, y in rows])
    assert prequential_auc(BayesLogistic(NUMERIC), batch, 32) >= 0.95


def _categories(rows: int, seed: int) -> Batch:
    """Two categories of which neither tells anything alone: the label is whether their parities differ."""
    batch = toy_batch(CATEGORICAL, rows, seed)
    odd = (batch.categorical * np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))) % np.uint64(2)
    return replace(batch, label=(odd[:, 0] != odd[:, 1]).astype(np.float64))


def test_pairs_of_categories_are_learned() -> None:
    assert prequential_auc(BayesLogistic(CATEGORICAL, SMALL), _categories(6_000, 1), 100) >= 0.95
    assert (
        prequential_auc(BayesLogistic(CATEGORICAL, replace(SMALL, pairs_max=0, waves=0)), _categories(6_000, 1), 100)
        < 0.6
    )


def test_the_label_of_a_row_has_no_part_in_its_own_log_odds() -> None:
    """Of ids that come twice, with labels by chance, nothing can be known; counted too soon they would tell all."""
    learner, random = (
        BayesLogistic(CATEGORICAL, replace(SMALL, table_bits=16, waves=0, bins=0)),
        np.random.default_rng(1),
    )
    ids = np.resize(random.integers(1, 1 << 63, (2_000, 2), np.uint64), (4_000, 2))
    label = random.integers(0, 2, 4_000).astype(np.float64)
    learner.learn(Batch(CATEGORICAL.id, np.zeros((4_000, 0)), ids, label, np.ones(4_000)))
    weights = np.asarray(learner.parameters()["weights"], np.float64)
    assert np.abs(weights).max() < 1.5


def test_a_change_is_followed() -> None:
    """After 20 000 rows everything is the other way round; memory_rows rows later that is what it says."""
    learner = BayesLogistic(NUMERIC, replace(SMALL, memory_rows=2_000.0))
    learner.learn(toy_batch(NUMERIC, 20_000, 1))
    turned = toy_batch(NUMERIC, 6_000, 2)
    learner.learn(replace(turned, label=1.0 - turned.label))
    test = toy_batch(NUMERIC, 1_000, 3)
    assert ((learner.predict(test) < 0.5) == (test.label > 0.5)).mean() >= 0.9


def test_a_step_that_explodes_is_not_made_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = BayesLogistic(NUMERIC, SMALL)
    learner.learn(toy_batch(NUMERIC, 8, 1))
    before = learner.parameters()["weights"].tobytes()
    with monkeypatch.context() as patched:
        patched.setattr(np.linalg, "solve", lambda a, b: np.full(len(b), np.nan))
        learner.learn(toy_batch(NUMERIC, 8, 2))
    assert learner.steps_undone == 1
    assert learner.parameters()["weights"].tobytes() == before


def test_a_snapshot_of_another_basis_is_refused() -> None:
    learner = BayesLogistic(NUMERIC, SMALL)
    snapshot = learner.snapshot()
    wrong = {**snapshot.tensors, "basis.edges": np.zeros(2)}
    with pytest.raises(ValueError, match="columns"):
        learner.restore(Snapshot(snapshot.kind, snapshot.schema_id, wrong))


def test_too_many_features_are_refused_when_it_is_made() -> None:
    wide = FeatureSchema("wide@1", tuple(f"n{index}" for index in range(300)))
    with pytest.raises(ValueError, match="at most 256"):
        BayesLogistic(wide)


@pytest.mark.parametrize("wrong", [{"table_bits": 30}, {"steps": -1}, {"precision": 0.0}, {"wave_scales": ()}])
def test_settings_without_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def test_rows_that_wait_have_no_part_in_scores() -> None:
    learner, batch = BayesLogistic(NUMERIC, SMALL), toy_batch(NUMERIC, 8, 5)
    learner.learn(select(batch, slice(0, 7)))
    assert (learner.predict(batch) == 0.5).all()
    learner.learn(select(batch, slice(7, 8)))
    assert (learner.predict(batch) != 0.5).all()
