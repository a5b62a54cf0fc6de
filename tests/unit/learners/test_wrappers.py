"""Every wrapper keeps every law of a learner, alone and around others, and is served as the learner inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rheostat.learners.anchor import Anchored
from rheostat.learners.checks import check_learner, toy_batch
from rheostat.learners.contract import FeatureSchema, KnowsTouchedRows, Learner, Snapshot
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.digest import tensors_digest
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.predictors import predictor
from rheostat.learners.replay_buffer import Replaying
from rheostat.learners.reweighted import Reweighted
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapper_settings import AnchorSettings, ReplaySettings, ReweightingSettings, TimescaleSettings
from rheostat.learners.wrapping import Adjustable
from tests.unit.learners.support import MIXED, SCHEMAS
from tests.unit.learners.timed import DAY_MS, Timed, with_context

DEEP = DeepSettings(table_bits=8, batch_rows=32)
QUICK = TimescaleSettings(DAY_MS, DAY_MS, agreeing_periods=2, period_rows_min=10)
SMALL = ReplaySettings(rows_per_stratum=40, strata_max=4)
EVEN = ReweightingSettings(stratum_share_max=0.3, memory_rows=200)
HELD = AnchorSettings(half_life_rows=5_000, every_rows=50, renew_ms=2 * DAY_MS)

Wrap = Callable[[Callable[[], Adjustable]], Learner]
WRAPPERS: dict[str, Wrap] = {
    "two timescales": lambda make: TwoTimescale(make, QUICK),
    "replay": lambda make: Replaying(make, SMALL),
    "anchor": lambda make: Anchored(make, HELD),
    "weights": lambda make: Reweighted(make, EVEN),
    "elastic anchor": lambda make: Anchored(make, AnchorSettings(2_000, elastic=True, every_rows=50, renew_ms=DAY_MS)),
    "all": lambda make: Reweighted(
        lambda: Replaying(lambda: TwoTimescale(lambda: Anchored(make, HELD), QUICK), SMALL), EVEN
    ),
}


def _linear(schema: FeatureSchema) -> Callable[[], Adjustable]:
    return lambda: RiverLinear(schema)


def _deep(schema: FeatureSchema) -> Callable[[], Adjustable]:
    return lambda: HashedMLP(schema, DEEP)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_keep_every_law(wrap: Wrap) -> None:
    check_learner(lambda: Timed(lambda: wrap(_linear(MIXED))), predictor)


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("make", [_linear, _deep])
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.id)
def test_wrappers_keep_every_law_around_any_learner(
    schema: FeatureSchema, make: Callable[[FeatureSchema], Callable[[], Adjustable]], wrap: Wrap
) -> None:
    check_learner(lambda: Timed(lambda: wrap(make(schema))), predictor)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_keep_every_law_without_times_and_strata(wrap: Wrap) -> None:
    check_learner(lambda: wrap(_linear(MIXED)), predictor)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_tells_the_touched_rows_of_the_learner_inside(wrap: Wrap) -> None:
    assert isinstance(wrap(_deep(MIXED)), KnowsTouchedRows)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_state_of_other_settings_is_refused_and_changes_nothing(wrap: Wrap) -> None:
    learner = wrap(_linear(MIXED))
    learner.learn(with_context(toy_batch(MIXED, 100, 1)))
    before = tensors_digest(learner.snapshot().tensors)
    others: list[Learner] = [
        TwoTimescale(_linear(MIXED)),
        Replaying(_linear(MIXED)),
        Anchored(_linear(MIXED)),
        Reweighted(_linear(MIXED)),
        RiverLinear(MIXED),
        wrap(lambda: RiverLinear(MIXED, LinearSettings(l2=0.5))),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"settings|missing"):
            learner.restore(other.snapshot())
    for name in learner.snapshot().tensors:
        broken = {key: each for key, each in learner.snapshot().tensors.items() if key != name}
        with pytest.raises(ValueError, match=r"missing|settings|expected"):
            learner.restore(Snapshot(learner.kind, MIXED.id, broken))
    assert tensors_digest(learner.snapshot().tensors) == before
