"""`HashedMLP`: what a linear model cannot learn, touched rows, and determinism."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.digest import DigestCache, tensors_digest
from rheostat.learners.features import batch_from_columns
from rheostat.learners.prequential import roc_auc
from tests.unit.learners.support import CATEGORICAL, MIXED, NUMERIC, phishing, prequential_auc, schema_of

SMALL = DeepSettings(table_bits=8, dim=4, hidden=16, batch_rows=32)


def _parity(rows: int, seed: int) -> Batch:
    """The label is whether two categories agree: no sum of one weight per category can say that."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 4, rows), random.integers(0, 4, rows)
    columns = [[f"v{value}" for value in column] for column in (first, second)]
    return batch_from_columns(CATEGORICAL, np.zeros((rows, 0)), columns, (first % 2 == second % 2).astype(float))


def test_it_learns_how_categories_combine() -> None:
    learner, test = HashedMLP(CATEGORICAL, SMALL), _parity(1_000, 2)
    learner.learn(_parity(10_000, 1))
    auc = roc_auc(learner.predict(test), test.label)
    assert auc is not None
    assert auc > 0.95


def test_it_learns_phishing() -> None:
    batch = phishing()
    assert prequential_auc(HashedMLP(schema_of(batch), SMALL), batch, 32) > 0.93


def test_touched_rows_are_exactly_those_that_changed() -> None:
    learner = HashedMLP(CATEGORICAL, SMALL)
    cache = DigestCache()
    before = {name: np.array(tensor) for name, tensor in learner.parameters().items()}
    cache.digest(before, {})
    for seed in range(4):
        learner.learn(_parity(32, seed))
        after = learner.parameters()
        rows = learner.touched_rows()["table"]
        changed = np.flatnonzero((after["table"] != before["table"]).any(axis=1))
        assert set(changed.tolist()) <= set(rows.tolist())
        assert len(rows) <= 8
        touched = {name: rows if name == "table" else None for name in after}
        assert cache.digest(after, touched) == tensors_digest(after)
        before = {name: np.array(tensor) for name, tensor in after.items()}
    assert len(learner.touched_rows()["table"]) == 0


def test_a_missing_category_teaches_the_table_nothing() -> None:
    learner = HashedMLP(CATEGORICAL, SMALL)
    before = np.array(learner.parameters()["table"])
    missing = batch_from_columns(CATEGORICAL, np.zeros((64, 0)), [[None] * 64, [""] * 64], np.ones(64))
    learner.learn(missing)
    assert np.array_equal(learner.parameters()["table"], before)
    assert (learner.predict(missing) > 0.5).all()


def test_the_seed_is_the_only_chance() -> None:
    torch.manual_seed(1)
    first = HashedMLP(MIXED, SMALL)
    torch.manual_seed(2)
    second = HashedMLP(MIXED, SMALL)
    other = HashedMLP(MIXED, replace(SMALL, seed=2))
    digests = [tensors_digest(learner.parameters()) for learner in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_number_of_threads_changes_neither_the_result_nor_itself() -> None:
    batch, digests = toy_batch(MIXED, 20_000, 3), set()
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            learner = HashedMLP(MIXED, replace(SMALL, batch_rows=256, hidden=64))
            learner.learn(batch)
            assert torch.get_num_threads() == count
            digests.add(tensors_digest(learner.parameters()))
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1


@pytest.mark.parametrize("schema", [NUMERIC, CATEGORICAL, FeatureSchema("none@1")])
def test_any_kind_of_feature_may_be_absent(schema: FeatureSchema) -> None:
    learner = HashedMLP(schema, SMALL)
    learner.learn(toy_batch(schema, 100, 4))
    learner.flush()
    assert learner.predict(toy_batch(schema, 10, 5)).shape == (10,)


def test_a_step_to_infinity_is_undone_and_counted() -> None:
    learner = HashedMLP(MIXED, replace(SMALL, learning_rate=1e38, weight_max=1e30))
    batch = toy_batch(MIXED, 320, 6)
    learner.learn(replace(batch, weight=np.full(320, 1e30)))
    learner.flush()
    assert learner.steps_undone > 0
    assert all(np.isfinite(tensor).all() for tensor in learner.snapshot().tensors.values())


@pytest.mark.parametrize(
    "settings", [{"table_bits": 27}, {"dim": 0}, {"learning_rate": 0.0}, {"memory_rows": 0.0}, {"l2": -1.0}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(SMALL, **settings)  # type: ignore[arg-type]
