"""Ids with rows of their own in a learner: what they are told apart by, where they start, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.digest import DigestCache, tensors_digest
from rheostat.learners.features import no_context
from rheostat.learners.idtable import Ids, own_rows
from rheostat.learners.prequential import roc_auc
from tests.unit.learners.deep.support import IDS, SMALL
from tests.unit.learners.support import MIXED

USERS = FeatureSchema("users@1", (), ("user",))
ONE_SHARED = replace(SMALL, table_bits=0, batch_rows=8)
STILL = replace(ONE_SHARED, ids=IDS, learning_rate=1e-30)
"""Its parameters do not move."""


def seen(users: list[int], occurred_at_ms: int = 0) -> Batch:
    """Return rows of these users, of whom the odd ones are positive."""
    ids = np.array(users, np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    context = replace(no_context(len(users)), occurred_at_ms=np.full(len(users), occurred_at_ms))
    label = np.array(users, np.float64) % 2.0
    return Batch(USERS.id, np.zeros((len(users), 0)), ids, label, np.ones(len(users)), context)


def rows_of(learner: HashedMLP, users: list[int]) -> list[int]:
    """Return the own rows of users, -1 for none."""
    keys = learner.parameters()["ids.keys"]
    ids: Ids = seen(users).categorical[:, 0]
    return list(own_rows(keys.astype(np.uint64), ids))


def test_ids_that_share_a_row_are_told_apart_by_their_own() -> None:
    users = np.random.default_rng(1).integers(1, 25, 4_000).tolist()
    aucs = []
    for settings in (ONE_SHARED, replace(ONE_SHARED, ids=IDS)):
        learner = HashedMLP(USERS, settings)
        learner.learn(seen(users))
        aucs.append(roc_auc(learner.predict(seen(users[:200])), seen(users[:200]).label))
    assert aucs[0] == pytest.approx(0.5)
    assert aucs[1] is not None
    assert aucs[1] > 0.99


def test_an_id_starts_from_the_row_it_shared() -> None:
    learner = HashedMLP(USERS, STILL)
    before = learner.snapshot().tensors["table"]
    learner.learn(seen([1] * 8))
    after = learner.snapshot().tensors["table"]
    own = rows_of(learner, [1])[0]
    assert own >= 0
    assert not np.array_equal(before[own], before[-1])
    assert np.array_equal(after[own], before[-1])


def test_an_id_takes_over_nothing_from_who_had_its_row_before() -> None:
    settings = replace(ONE_SHARED, ids=replace(IDS, rows_bits=3, admit_after=1, expire_after_rows=1))
    learner = HashedMLP(USERS, settings)
    learner.learn(seen([1, 2, 3, 4, 5, 7, 9, 21] * 100))
    before = learner.snapshot().tensors
    users = [11, 12, 13, 14, 15, 16, 17, 18]
    learner.learn(seen(users))
    after = learner.snapshot().tensors
    assert sorted(rows_of(learner, users)) == list(range(8))
    # The first step of Adagrad has the length of the learning rate, whatever the gradient; any later one is shorter.
    moved = np.abs(after["table"][:8] - before["table"][-1])
    assert np.abs(moved - settings.learning_rate).max() < 1e-4


def test_what_is_told_to_have_changed_is_all_that_has() -> None:
    learner, cache = (
        HashedMLP(MIXED, replace(SMALL, ids=replace(IDS, admit_after=1, expire_after_rows=50))),
        DigestCache(),
    )
    before = {name: np.array(tensor) for name, tensor in learner.parameters().items()}
    cache.digest(before, {})
    random = np.random.default_rng(1)
    for _ in range(30):
        ids = random.integers(1, 200, (32, 1), np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        label = np.asarray(random.integers(0, 2, 32), np.float64)
        learner.learn(Batch(MIXED.id, random.normal(size=(32, 3)), ids, label, np.ones(32)))
        after, touched = learner.parameters(), learner.touched_rows()
        changed = np.flatnonzero(after["ids.keys"] != before["ids.keys"])
        assert touched["ids.keys"].tolist() == changed.tolist()
        assert cache.digest(after, {name: touched.get(name) for name in after}) == tensors_digest(after)
        before = {name: np.array(tensor) for name, tensor in after.items()}
    assert (before["ids.keys"] != 0).all()


def test_ids_expire_by_the_time_of_events() -> None:
    ids = replace(IDS, rows_bits=3, admit_after=1, expire_after_ms=1_000)
    learner = HashedMLP(USERS, replace(ONE_SHARED, ids=ids))
    learner.learn(seen(list(range(1, 9)), 5_000))
    learner.learn(seen([10] * 800, 6_000))
    assert rows_of(learner, [10]) == [-1]
    learner.learn(seen([10] * 8, 6_001))
    assert rows_of(learner, [10]) != [-1]


def test_a_row_given_in_a_step_that_is_undone_is_told_too() -> None:
    learner = HashedMLP(USERS, replace(ONE_SHARED, ids=replace(IDS, admit_after=1), learning_rate=1e38))
    before = np.array(learner.parameters()["table"])
    learner.learn(seen([1, 1, 1, 1, 1, 1, 1, 2]))
    assert learner.steps_undone == 1
    given = rows_of(learner, [1, 2])
    assert learner.touched_rows()["table"].tolist() == sorted(given)
    assert (learner.parameters()["table"][given] != before[given]).any(axis=1).all()
