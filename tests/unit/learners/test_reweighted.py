"""Rows count by how rarely they were chosen, and a loud stratum does not drown a quiet one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.checks import check_learner, toy_batch
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import no_context, select
from rheostat.learners.linear import RiverLinear
from rheostat.learners.logistic import sigmoid
from rheostat.learners.predictors import predictor
from rheostat.learners.reweigh_rows import ROWS_PRESENT, stratum_factor
from rheostat.learners.reweighted import Reweighted
from rheostat.learners.wrapper_settings import ReweightingSettings
from tests.unit.learners.support import ANY_SPEED, MIXED
from tests.unit.learners.timed import Timed, with_context

BALANCED = ReweightingSettings(stratum_share_max=0.5, memory_rows=1_000)
SCHEMA = FeatureSchema("plane@1", ("x", "y"))


class _Recording(RiverLinear):
    """A learner that keeps what its rows counted."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.counted = np.zeros(0)

    def learn(self, batch: Batch) -> None:
        self.counted = np.concatenate([self.counted, batch.weight])
        super().learn(batch)


class _Chosen(Timed):
    """A learner given every batch with propensities and strata that follow from its rows."""

    def learn(self, batch: Batch) -> None:
        rows = with_context(batch)
        assert rows.context is not None
        propensity = (rows.context.occurred_at_ms % 97 + 1) / 97.0
        propensity[rows.context.occurred_at_ms % 5 == 0] = np.nan
        self.inner.learn(replace(rows, context=replace(rows.context, propensity=propensity)))


def _batch(
    rows: int, seed: int = 1, *, propensity: object = np.nan, stratum: object = 0, weight: object = 1.0
) -> Batch:
    context = replace(
        no_context(rows),
        propensity=np.broadcast_to(np.asarray(propensity, np.float64), rows).copy(),
        stratum=np.broadcast_to(np.asarray(stratum, np.uint64), rows).copy(),
    )
    weights = np.broadcast_to(np.asarray(weight, np.float64), rows).copy()
    return replace(toy_batch(SCHEMA, rows, seed), weight=weights, context=context)


def _counted(batch: Batch, settings: ReweightingSettings) -> Floats:
    """What each row counts."""
    made: list[_Recording] = []

    def make() -> _Recording:
        made.append(_Recording())
        return made[-1]

    Reweighted(make, settings).learn(batch)
    return made[-1].counted


@pytest.mark.parametrize("settings", [ReweightingSettings(), BALANCED, ReweightingSettings(self_normalised=False)])
def test_it_keeps_every_law(settings: ReweightingSettings) -> None:
    check_learner(lambda: _Chosen(lambda: Reweighted(lambda: RiverLinear(MIXED), settings)), predictor)


def test_without_propensities_and_strata_it_is_the_learner_inside() -> None:
    bare, around = RiverLinear(MIXED), Reweighted(lambda: RiverLinear(MIXED), BALANCED)
    for each in (bare, around):
        each.learn(toy_batch(MIXED, 1_000, 1))
        each.flush()
    assert tensors_digest(around.parameters()) == tensors_digest(bare.parameters())


@ANY_SPEED
@given(st.lists(st.integers(0, 400), max_size=5), st.integers(0, 2**32))
def test_what_a_row_counts_does_not_depend_on_cuts(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = _batch(400, propensity=random.uniform(0.01, 1.0, 400), stratum=random.integers(0, 5, 400))
    whole, parts = (Reweighted(lambda: RiverLinear(SCHEMA), BALANCED) for _ in range(2))
    whole.learn(rows)
    ends = [0, *sorted(cuts), 400]
    for start, end in pairwise(ends):
        parts.learn(select(rows, slice(start, end)))
    assert tensors_digest(whole.snapshot().tensors) == tensors_digest(parts.snapshot().tensors)


def test_a_row_counts_by_its_propensity_down_to_the_floor() -> None:
    settings = ReweightingSettings(propensity_floor=0.1, self_normalised=False)
    rows = _batch(4, propensity=[1.0, 0.5, 0.001, np.nan], weight=[1.0, 2.0, 1.0, 3.0])
    assert _counted(rows, settings).tolist() == [1.0, 4.0, 10.0, 3.0]


def test_self_normalised_rows_count_as_much_as_without_on_average() -> None:
    """The mean of 20 000 factors of which each is 1.25 or 10: off by 2 % at five standard errors."""
    random = np.random.default_rng(3)
    often = random.random(20_000) < 0.8
    counted = _counted(_batch(20_000, propensity=np.where(often, 0.8, 0.1)), ReweightingSettings())
    assert counted.mean() == pytest.approx(1.0, abs=0.05)
    assert counted[~often][-1] / counted[often][-1] == pytest.approx(8.0, rel=0.02)


def test_it_learns_what_holds_for_all_from_what_was_chosen() -> None:
    """Where x is high the paying choice was made nine times of ten, where it is low once: rewards follow the choice.

    Chosen alike, x says nothing about the reward. As logged, it says a lot.
    """
    random = np.random.default_rng(5)
    rows = 40_000
    high, paying = random.random(rows) < 0.5, random.random(rows)
    propensity_of_paying = np.where(high, 0.9, 0.1)
    chosen = paying < propensity_of_paying
    reward = (random.random(rows) < np.where(chosen, 0.8, 0.2)).astype(np.float64)
    batch = _batch(rows, propensity=np.where(chosen, propensity_of_paying, 1.0 - propensity_of_paying))
    numeric = np.stack([np.where(high, 1.0, -1.0), np.zeros(rows)], axis=1)
    batch = replace(batch, numeric=numeric, label=reward)
    ends = replace(_batch(2), numeric=np.array([[-1.0, 0.0], [1.0, 0.0]]))
    slopes = []
    for settings in (None, ReweightingSettings(), ReweightingSettings(propensity_floor=1.0)):
        learner = _linear(settings)
        said = []
        for start in range(0, rows, 200):
            learner.learn(select(batch, slice(start, start + 200)))
            low, up = learner.predict(ends)
            said.append(up - low)
        slopes.append(float(np.mean(said[50:])))
    bare, weighted, floored = slopes
    assert bare == pytest.approx(0.48, abs=0.06)
    assert weighted == pytest.approx(0.0, abs=0.06)
    assert floored == pytest.approx(bare, abs=1e-9)


@pytest.mark.parametrize("loud", [0.6, 0.9, 0.99])
def test_no_stratum_counts_for_more_than_its_share(loud: float) -> None:
    """Measured over 20 000 rows, 200 or more of them of the quiet stratum: the share varies by about 0.02."""
    random = np.random.default_rng(7)
    stratum = (random.random(30_000) < loud).astype(np.uint64)
    counted = _counted(_batch(30_000, stratum=stratum), ReweightingSettings(stratum_share_max=0.5, memory_rows=5_000))
    late = np.arange(30_000) >= 10_000
    of_loud = counted[late & (stratum == 1)].sum() / counted[late].sum()
    assert of_loud == pytest.approx(0.5, abs=0.05)
    assert counted.max() <= 10.0


def test_a_loud_stratum_does_not_drown_a_quiet_one() -> None:
    """Of 100 rows one is of the quiet stratum, where y decides and not x.

    What the quiet stratum loses is that of a learner to which both sent as many rows, or hardly more.
    """
    losses = {}
    settings = ReweightingSettings(stratum_share_max=0.5)
    for name, loud, around in (("bare", 0.99, None), ("balanced", 0.5, None), ("reweighted", 0.99, settings)):
        rows, learner = _two_strata(60_000, loud, 1), _linear(around)
        found = []
        quiet = _two_strata(2_000, 0.0, 2)
        for start in range(0, len(rows), 500):
            learner.learn(select(rows, slice(start, start + 500)))
            found.append(_loss(learner, quiet))
        losses[name] = float(np.mean(found[40:]))
    assert losses["bare"] > losses["balanced"] + 0.1
    assert losses["reweighted"] < losses["balanced"] + 0.25 * (losses["bare"] - losses["balanced"])


def _linear(settings: ReweightingSettings | None) -> Learner:
    return RiverLinear(SCHEMA) if settings is None else Reweighted(lambda: RiverLinear(SCHEMA), settings)


def _two_strata(rows: int, loud: float, seed: int) -> Batch:
    random = np.random.default_rng(seed)
    is_loud = random.random(rows) < loud
    batch = _batch(rows, seed, stratum=is_loud)
    logit = 2.0 * batch.numeric[np.arange(rows), np.where(is_loud, 0, 1)]
    return replace(batch, label=(random.random(rows) < sigmoid(logit)).astype(np.float64))


def _loss(learner: Learner, batch: Batch) -> float:
    scores = np.clip(learner.predict(batch), 1e-9, 1.0 - 1e-9)
    return float(-np.where(batch.label > 0.5, np.log(scores), np.log1p(-scores)).mean())


@ANY_SPEED
@given(st.lists(st.floats(0.001, 1_000.0), min_size=1, max_size=12), st.floats(0.05, 1.0))
def test_shares_are_kept_and_nothing_is_lost(influence: list[float], share_max: float) -> None:
    """With factors unbounded: no stratum above its share, the sum as before, the order of strata as before."""
    sums, rows = np.array(influence), np.full(len(influence), ROWS_PRESENT)
    factors = np.array([stratum_factor(place, rows, sums, share_max, 1e12) for place in range(len(sums))])
    after = sums * factors
    assert after.max() <= max(share_max, 1.0 / len(sums)) * sums.sum() * (1.0 + 1e-9)
    assert after.sum() == pytest.approx(sums.sum(), rel=1e-9)
    assert (np.diff(after[np.argsort(sums)]) >= -1e-9 * sums.sum()).all()


@ANY_SPEED
@given(st.lists(st.floats(0.001, 1_000.0), min_size=1, max_size=12), st.floats(0.05, 1.0), st.floats(1.0, 100.0))
def test_factors_are_bounded_both_ways(influence: list[float], share_max: float, bound: float) -> None:
    sums, rows = np.array(influence), np.full(len(influence), ROWS_PRESENT)
    factors = np.array([stratum_factor(place, rows, sums, share_max, bound) for place in range(len(sums))])
    assert (factors <= bound * (1.0 + 1e-9)).all()
    assert (factors >= 1.0 / bound * (1.0 - 1e-9)).all()


def test_a_stratum_seen_a_few_times_holds_up_nobody() -> None:
    stratum = np.zeros(5_000, np.uint64)
    stratum[:5] = 9
    counted = _counted(_batch(5_000, stratum=stratum), BALANCED)
    assert (counted == 1.0).all()


def test_strata_beyond_the_bound_share_one_and_places_are_given_again() -> None:
    settings = ReweightingSettings(stratum_share_max=0.3, strata_max=3, memory_rows=100)
    learner = Reweighted(lambda: RiverLinear(SCHEMA), settings)
    learner.learn(_batch(40, stratum=np.arange(40) % 4 + 1))
    held = learner.snapshot().tensors
    assert held["strata"][:2].tolist() == [1, 2]
    assert held["strata.rows"][2] == pytest.approx(held["strata.rows"][:2].sum(), rel=0.05)
    learner.learn(_batch(2_000, stratum=8))
    assert learner.snapshot().tensors["strata"][0] == 8


def test_it_says_how_loud_the_loudest_is() -> None:
    learner = Reweighted(lambda: RiverLinear(SCHEMA), BALANCED)
    assert learner.metrics() == {"propensity_factor_mean": 1.0, "stratum_share_loudest": 0.0}
    learner.learn(_batch(4_000, propensity=0.25, stratum=np.arange(4_000) % 4 == 0))
    assert learner.metrics()["propensity_factor_mean"] == pytest.approx(4.0)
    assert learner.metrics()["stratum_share_loudest"] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"propensity_floor": 0.0},
        {"propensity_floor": 1.5},
        {"stratum_share_max": 0.0},
        {"stratum_factor_max": 0.5},
        {"memory_rows": 10},
        {"strata_max": 1},
    ],
)
def test_bounds_of_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        ReweightingSettings(**wrong)  # type: ignore[arg-type]
