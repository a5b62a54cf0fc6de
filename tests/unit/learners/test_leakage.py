"""Leaked labels are found, ordinary features are not, and the bound keeps what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import select
from rheostat.learners.leakage import (
    independent_pairs,
    lower_bound,
    single_feature_power,
    suspicious_features,
)
from rheostat.learners.prequential import roc_auc, weighted_auc
from tests.unit.learners.support import ANY_SPEED, phishing

WEIGHTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.0])
ROWS = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), WEIGHTS), min_size=2, max_size=25)
SCHEMA = FeatureSchema("leak@1", ("noise", "leak", "turned"), ("id", "colour"))


def arrays(rows: list[tuple[int, bool, float]]) -> tuple[Floats, NDArray[np.bool_], Floats]:
    score, positive, weight = (list(column) for column in zip(*rows, strict=True))
    return np.array(score, np.float64), np.array(positive), np.array(weight, np.float64)


def by_pairs(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> float | None:
    """The definition: every pair of a positive and a negative."""
    won = both = 0.0
    for s, w in zip(score[positive], weight[positive], strict=True):
        for t, v in zip(score[~positive], weight[~positive], strict=True):
            won += w * v * (float(s > t) + float(s == t) / 2.0)
            both += w * v
    return won / both if both else None


def leaking(rows: int, seed: int = 0) -> Batch:
    """Rows whose label stands in `leak`, `turned` (negated) and `colour`; `noise` knows nothing, `id` never repeats."""
    draw = np.random.default_rng(seed)
    label = (draw.random(rows) < 0.3).astype(np.float64)
    near = label + draw.normal(0.0, 0.05, rows)
    numeric = np.column_stack([draw.normal(size=rows), near, -near])
    colour = np.where(draw.random(rows) < 0.01, 1.0 - label, label)
    hashes = np.column_stack([np.arange(1, rows + 1), 5 + colour]).astype(np.uint64)
    return Batch(SCHEMA.id, numeric, hashes, label, np.ones(rows))


@ANY_SPEED
@given(ROWS)
def test_the_auc_is_that_of_all_pairs(rows: list[tuple[int, bool, float]]) -> None:
    found, expected = weighted_auc(*arrays(rows)), by_pairs(*arrays(rows))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert math.isclose(found, expected, abs_tol=1e-12)
        assert 0.0 <= found <= 1.0


@ANY_SPEED
@given(ROWS)
def test_with_equal_weights_it_is_the_ordinary_auc(rows: list[tuple[int, bool, float]]) -> None:
    score, positive, _ = arrays(rows)
    assert weighted_auc(score, positive, np.full(len(rows), 0.3)) == pytest.approx(
        roc_auc(score, positive.astype(np.float64))
    )


@ANY_SPEED
@given(ROWS)
def test_a_row_of_weight_two_is_two_rows(rows: list[tuple[int, bool, float]]) -> None:
    whole = [(score, positive, float(int(weight))) for score, positive, weight in rows]
    repeated = [(score, positive, 1.0) for score, positive, weight in whole for _ in range(int(weight))]
    assume(repeated)
    assert weighted_auc(*arrays(whole)) == pytest.approx(weighted_auc(*arrays(repeated)))


@ANY_SPEED
@given(ROWS)
def test_only_the_order_of_scores_counts_and_turning_it_turns_the_auc(rows: list[tuple[int, bool, float]]) -> None:
    score, positive, weight = arrays(rows)
    found = weighted_auc(score, positive, weight)
    assert weighted_auc(np.exp(score), positive, weight) == found
    assume(found is not None)
    assert weighted_auc(-score, positive, weight) == pytest.approx(1.0 - (found or 0.0))


def test_equal_weights_are_worth_the_smaller_class_and_one_heavy_row_is_worth_one() -> None:
    positive = np.array([True] * 7 + [False] * 40)
    for weight in (1.0, 0.1, 3.7):
        assert independent_pairs(positive, np.full(47, weight)) == 7
    heavy = np.ones(47)
    heavy[0] = 1e9
    assert independent_pairs(positive, heavy) == 1
    assert independent_pairs(positive[:7], np.ones(7)) == 0
    assert independent_pairs(positive, np.where(positive, 0.0, 1.0)) == 0


def test_the_bound_of_a_perfect_score_is_what_coins_give() -> None:
    """Of k fair comparisons all are won with the chance t**k."""
    for pairs in (1, 10, 500):
        assert lower_bound(1.0, pairs, 0.01) == pytest.approx(0.01 ** (1.0 / pairs))


@given(st.floats(0.0, 1.0), st.integers(0, 10_000), st.floats(1e-6, 0.5))
def test_the_bound_is_below_the_auc_and_rises_with_pairs_and_error(auc: float, pairs: int, error: float) -> None:
    bound = lower_bound(auc, pairs, error)
    assert 0.0 <= bound <= auc
    assert bound <= lower_bound(auc, 2 * pairs + 1, error) + 1e-12
    assert bound <= lower_bound(auc, pairs, min(2 * error, 0.9)) + 1e-12


@pytest.mark.parametrize("weighted", [False, True])
def test_the_true_auc_is_above_the_bound_as_often_as_promised(weighted: bool) -> None:
    draw = np.random.default_rng(11)
    positive = np.arange(60) < 20
    true_auc = 0.5 * (1.0 + math.erf(1.0 / 2.0))  # of two normals one deviation apart
    missed = 0
    for _ in range(2_000):
        weight = draw.choice([0.2, 1.0, 3.0], 60) if weighted else np.ones(60)
        auc = weighted_auc(draw.normal(size=60) + positive, positive, weight)
        missed += lower_bound(auc or 0.0, independent_pairs(positive, weight), 0.1) > true_auc
    assert missed <= 0.1 * 2_000


def test_leaks_are_found_and_nothing_else() -> None:
    found = suspicious_features(SCHEMA, leaking(4_000))
    assert {each.feature for each in found} == {"leak", "turned", "colour"}
    assert all(each.lower > 0.95 for each in found)
    assert [each.lower for each in found] == sorted((each.lower for each in found), reverse=True)
    powers = {each.feature: each for each in single_feature_power(SCHEMA, leaking(4_000))}
    assert powers["leak"].auc == powers["turned"].auc == 1.0
    assert powers["id"].auc == 0.5
    assert powers["noise"].auc < 0.55


def test_a_perfect_feature_on_a_few_rows_is_not_suspicious() -> None:
    few = leaking(60)
    assert {each.feature: each.auc for each in single_feature_power(SCHEMA, few)}["leak"] == 1.0
    assert suspicious_features(SCHEMA, few) == []


def test_rows_of_weight_zero_are_not_seen() -> None:
    batch = leaking(2_000)
    weight = (np.arange(2_000) >= 300).astype(np.float64)
    unseen = Batch(batch.schema_id, batch.numeric, batch.categorical, batch.label.copy(), weight)
    unseen.label[:300] = 1.0 - unseen.label[:300]
    seen = select(unseen, unseen.weight > 0)
    assert single_feature_power(SCHEMA, unseen) == single_feature_power(SCHEMA, seen)


def test_a_category_is_judged_on_the_later_half_by_the_shares_of_the_earlier() -> None:
    draw = np.random.default_rng(3)
    rows, half = 240, 120
    label, weight = (draw.random(rows) < 0.4).astype(np.float64), draw.choice([0.5, 1.0, 4.0], rows)
    category = np.where(np.arange(rows) < half, draw.integers(1, 9, rows), draw.integers(4, 14, rows))
    batch = Batch("c@1", np.empty((rows, 0)), category.astype(np.uint64)[:, None], label, weight)
    (power,) = single_feature_power(FeatureSchema("c@1", (), ("c",)), batch)
    prior, unit = np.average(label[:half], weights=weight[:half]), weight[:half].mean()
    score = []
    for asked in category[half:]:
        same = category[:half] == asked
        won, whole = (weight[:half] * label[:half])[same].sum(), weight[:half][same].sum()
        score.append((won + prior * unit) / (whole + unit))
    expected = by_pairs(np.round(score, 12), label[half:] > 0.5, weight[half:])
    assert power.auc == pytest.approx(expected)
    assert power.pairs == independent_pairs(label[half:] > 0.5, weight[half:])


def test_what_cannot_be_judged_is_left_out() -> None:
    batch = leaking(200)
    one_class = select(batch, batch.label > 0.5)
    assert single_feature_power(SCHEMA, one_class) == []
    assert single_feature_power(SCHEMA, select(batch, slice(0, 0))) == []
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        single_feature_power(SCHEMA, batch, error=0.0)
    with pytest.raises(ValueError, match="feature set 'leak@1'"):
        single_feature_power(FeatureSchema("other@1"), batch)


def test_real_features_are_not_suspicious_until_the_label_is_among_them() -> None:
    batch = phishing()
    names = tuple(f"x{index}" for index in range(batch.numeric.shape[1]))
    honest = FeatureSchema(batch.schema_id, names)
    assert suspicious_features(honest, batch) == []
    told = Batch(
        batch.schema_id, np.column_stack([batch.numeric, batch.label]), batch.categorical, batch.label, batch.weight
    )
    (found,) = suspicious_features(FeatureSchema(batch.schema_id, (*names, "blocked_by")), told)
    assert found.feature == "blocked_by"
