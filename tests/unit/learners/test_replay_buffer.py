"""The reservoir is uniform within a stratum and fair between strata; replay keeps what is no longer seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import no_context, select
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.replay_buffer import Replaying
from rheostat.learners.reservoir import OTHERS, StratifiedReservoir
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapper_settings import ReplaySettings
from tests.unit.learners.support import ANY_SPEED, CATEGORICAL, MIXED, NUMERIC
from tests.unit.learners.timed import with_context

NUMBERED = FeatureSchema("numbered@1", ("number",))


def _rows(numbers: NDArray[np.int64], strata: object = 0) -> Batch:
    """Rows that can be told apart by their number."""
    count = len(numbers)
    context = replace(no_context(count), stratum=np.broadcast_to(np.asarray(strata, np.uint64), count).copy())
    numeric = numbers[:, None].astype(np.float64)
    return Batch(NUMBERED.id, numeric, np.zeros((count, 0), np.uint64), np.zeros(count), np.ones(count), context)


def _held(reservoir: StratifiedReservoir) -> list[int]:
    return [int(number) for number in reservoir.held().numeric[:, 0]]


def test_every_row_of_a_stratum_is_held_with_the_same_chance() -> None:
    """400 samples of 20 rows out of 200: chi-squared with 199 degrees of freedom, wrong with probability below 1e-6.

    Within a sample rows exclude each other, which makes the sum smaller than its distribution: the bound is safe. Both
    ways to miss are seen: chances that differ, and samples that are all alike (the sum would be near 0).
    """
    samples, size, rows = 400, 20, 200
    held = np.zeros(rows)
    for seed in range(samples):
        reservoir = StratifiedReservoir(NUMBERED, size, 2, seed)
        for start in range(0, rows, 50):
            reservoir.add(_rows(np.arange(start, start + 50)))
        held[_held(reservoir)] += 1
    expected = samples * size / rows
    chi_squared = float(((held - expected) ** 2 / expected).sum())
    assert held.sum() == samples * size
    assert 100.0 < chi_squared < 310.0


def test_draws_are_uniform_within_a_stratum_and_take_turns_between_them() -> None:
    """8000 draws from 40 rows: chi-squared with 39 degrees of freedom is above 100 with probability below 1e-6."""
    reservoir = StratifiedReservoir(NUMBERED, 20, 4, 1)
    reservoir.add(_rows(np.arange(40), np.arange(40) % 2 + 1))
    drawn = reservoir.draw(0, 8_000)
    assert drawn.context is not None
    counts = np.bincount(drawn.numeric[:, 0].astype(np.int64), minlength=40)
    assert (drawn.context.stratum[:4] == [1, 2, 1, 2]).all()
    assert float(((counts - 200.0) ** 2 / 200.0).sum()) < 100.0


def test_a_loud_stratum_does_not_push_out_a_quiet_one() -> None:
    reservoir = StratifiedReservoir(NUMBERED, 10, 4, 1)
    reservoir.add(_rows(np.arange(5), 7))
    reservoir.add(_rows(np.arange(1_000, 101_000), 8))
    held = _held(reservoir)
    assert held[:5] == [0, 1, 2, 3, 4]
    assert len(held) == 15
    drawn = reservoir.draw(0, 1_000).context
    assert drawn is not None
    assert int((drawn.stratum == 7).sum()) == 500


def test_strata_beyond_the_bound_share_one() -> None:
    reservoir = StratifiedReservoir(NUMBERED, 10, 3, 1)
    reservoir.add(_rows(np.arange(300), np.arange(300) + 1))
    held = reservoir.held().context
    assert held is not None
    assert len(reservoir) == 1 + 1 + 10
    assert reservoir.tensors()["reservoir.strata"].tolist() == [1, 2, int(OTHERS)]


def test_with_a_horizon_newer_rows_are_likelier() -> None:
    always, lately = (StratifiedReservoir(NUMBERED, 50, 1, 3, horizon) for horizon in (None, 100))
    for each in (always, lately):
        each.add(_rows(np.arange(10_000)))
    assert np.mean(_held(lately)) > 9_700
    assert np.mean(_held(always)) < 7_000


@ANY_SPEED
@given(st.integers(0, 300), st.integers(1, 12), st.integers(0, 2**32))
def test_only_the_order_of_rows_matters(cut: int, size: int, seed: int) -> None:
    rows = with_context(toy_batch(MIXED, 300, 1))
    whole, parts = (StratifiedReservoir(MIXED, size, 3, seed) for _ in range(2))
    whole.add(rows)
    parts.add(select(rows, slice(0, cut)))
    parts.add(select(rows, slice(cut, None)))
    assert tensors_digest(whole.tensors()) == tensors_digest(parts.tensors())


@pytest.mark.parametrize("schema", [NUMERIC, CATEGORICAL, MIXED], ids=lambda schema: schema.id)
def test_rows_are_erased_by_their_features(schema: FeatureSchema) -> None:
    rows = with_context(toy_batch(schema, 200, 1))
    learner = Replaying(lambda: RiverLinear(schema), ReplaySettings(rows_per_stratum=30))
    learner.learn(rows)
    learner.flush()
    erased = select(rows, np.arange(100))
    kept = learner.snapshot().tensors["reservoir.numeric"]
    before = int(learner.snapshot().tensors["reservoir.filled"].sum())
    count = learner.forget(erased)
    assert count > 0
    assert learner.forget(erased) == 0
    left = learner.snapshot().tensors
    assert int(left["reservoir.filled"].sum()) == before - count
    if schema.numeric:
        gone = {row.tobytes() for row in erased.numeric}
        assert any(row.tobytes() in gone for row in kept)
        assert not any(row.tobytes() in gone for row in left["reservoir.numeric"])


def test_a_place_that_was_erased_is_filled_again_by_chance_alone() -> None:
    reservoir = StratifiedReservoir(NUMBERED, 10, 1, 1)
    reservoir.add(_rows(np.arange(100)))
    erased = _held(reservoir)[:4]
    assert reservoir.forget(_rows(np.array(erased))) == 4
    assert not set(erased) & set(_held(reservoir))
    assert set(reservoir.draw(0, 500).numeric[:, 0].astype(int)) == set(_held(reservoir))
    reservoir.add(_rows(np.arange(100, 1_000)))
    assert len(reservoir) == 10


def test_erasure_reaches_the_rows_that_wrappers_inside_keep() -> None:
    rows = with_context(toy_batch(MIXED, 100, 1))
    learner = Replaying(lambda: TwoTimescale(lambda: RiverLinear(MIXED)), ReplaySettings(ratio=0.0))
    learner.learn(rows)
    learner.flush()
    assert learner.forget(rows) == 200
    assert learner.snapshot().tensors["learner.recent.label"].size == 0


def test_rows_learned_again_are_as_many_as_the_ratio_says_whatever_the_flushes() -> None:
    counted = _Counting()
    learner = Replaying(lambda: counted, ReplaySettings(ratio=0.3, batch_rows=16))
    rows = with_context(toy_batch(NUMERIC, 1_000, 1))
    for start in range(0, 1_000, 7):
        learner.learn(select(rows, slice(start, start + 7)))
        learner.flush()
    assert counted.rows == pytest.approx(1_300, abs=10)


class _Counting(RiverLinear):
    def __init__(self) -> None:
        super().__init__(NUMERIC)
        self.rows = 0

    def learn(self, batch: Batch) -> None:
        self.rows += len(batch)
        super().learn(batch)


def test_replay_keeps_what_is_no_longer_seen() -> None:
    """A learner that forgets what is not confirmed (l2): first x decides, then for long x is always 0."""
    first, then = (toy_batch(NUMERIC, rows, seed) for rows, seed in ((2_000, 1), (20_000, 2)))
    then = replace(
        then, numeric=then.numeric * np.array([0.0, 1.0]), label=(then.numeric[:, 1] > 0.0).astype(np.float64)
    )
    settings = LinearSettings(learning_rate=0.1, l2=0.02)
    bare, replaying = RiverLinear(NUMERIC, settings), Replaying(lambda: RiverLinear(NUMERIC, settings))
    said = []
    for learner in (bare, replaying):
        learner.learn(_in_stratum(first, 1))
        learner.learn(_in_stratum(then, 2))
        said.append(float((learner.predict(first) * (2.0 * first.label - 1.0)).mean()))
    assert said[1] > 2.0 * said[0]


def _in_stratum(batch: Batch, stratum: int) -> Batch:
    return replace(batch, context=replace(no_context(len(batch)), stratum=np.full(len(batch), stratum, np.uint64)))


@pytest.mark.parametrize(
    ("places", "strata", "seed", "horizon"), [(0, 1, 1, None), (1, 0, 1, None), (1, 1, -1, None), (10, 1, 1, 5)]
)
def test_bounds_of_a_reservoir(places: int, strata: int, seed: int, horizon: int | None) -> None:
    with pytest.raises(ValueError, match=r"need|seed"):
        StratifiedReservoir(NUMBERED, places, strata, seed, horizon)
