"""The learner contract, for every task of `HashedMLP`, with and without ids of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.learners.checks import LawBroken, check_learner
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.predictors import predictor
from tests.unit.learners.deep.support import ACTIONS, CLASSES, IDS, PAIRS, PAIRWISE, REWARDS, SMALL, SQUARED
from tests.unit.learners.support import CATEGORICAL, MIXED

ORDER = "the made-up labels follow from one candidate alone; a preference is learned in another test"
ONE_RIGHT = "the made-up labels say of all classes at once that they are right; classes are learned in another test"


@pytest.mark.parametrize(
    ("schema", "settings", "excused"),
    [
        (MIXED, replace(SMALL, task="regression"), {}),
        (PAIRS, PAIRWISE, {"it learns": ORDER}),
        (ACTIONS, CLASSES, {"it learns": ONE_RIGHT, "weight moves the model": ONE_RIGHT}),
        (ACTIONS, REWARDS, {}),
        (ACTIONS, replace(REWARDS, rewards=SQUARED), {}),
        (MIXED, replace(SMALL, ids=IDS), {}),
        (CATEGORICAL, replace(SMALL, ids=IDS), {}),
        (MIXED, replace(SMALL, ids=replace(IDS, admit_after=1)), {}),
        (ACTIONS, replace(REWARDS, ids=replace(IDS, expire_after_ms=60_000)), {}),
        (PAIRS, replace(PAIRWISE, ids=IDS), {"it learns": ORDER}),
    ],
)
def test_every_task_keeps_the_contract(schema: FeatureSchema, settings: DeepSettings, excused: dict[str, str]) -> None:
    check_learner(lambda: HashedMLP(schema, settings), predictor, excused=excused)


@pytest.mark.parametrize(("schema", "settings"), [(PAIRS, PAIRWISE), (ACTIONS, CLASSES)])
def test_what_is_excused_is_not_kept(schema: FeatureSchema, settings: DeepSettings) -> None:
    with pytest.raises(LawBroken, match="it learns"):
        check_learner(lambda: HashedMLP(schema, settings), excused={"weight moves the model": ONE_RIGHT})
