"""Log-odds of categories are those of a plain count; counts are bounded and follow changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.category_odds import PRIOR_ROWS, ROWS_MAX, CategoryOdds
from rheostat.learners.contract import FeatureSchema
from tests.unit.learners.support import ANY_SPEED, NUMERIC

SCHEMA = FeatureSchema("three@1", (), ("a", "b", "c"))
VALUES = st.tuples(*[st.integers(0, 4)] * 3)


def _hashes(rows: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array(rows, np.uint64).reshape(-1, 3) * np.uint64(0x9E3779B97F4A7C15)


@ANY_SPEED
@given(st.lists(st.tuples(VALUES, st.booleans(), st.sampled_from([0.5, 1.0, 2.0])), max_size=60), VALUES)
def test_log_odds_are_those_of_a_plain_count(
    seen: list[tuple[tuple[int, ...], bool, float]], asked: tuple[int, ...]
) -> None:
    odds = CategoryOdds.empty(SCHEMA, 16, pairs_max=9)
    counts: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for part in (seen[:20], seen[20:]):
        places = odds.places(_hashes([row for row, _, _ in part]))
        odds.count(places, np.array([float(y) for _, y, _ in part]), np.array([w for _, _, w in part]))
    for row, label, weight in seen:
        for key in [(), *_keys(row)]:
            counts[key][0] += weight
            counts[key][1] += weight * label
    rate = (counts[()][1] + 0.5) / (counts[()][0] + 1.0)
    expected = []
    for key in _keys(asked):
        rows, positive = counts[key]
        credited = (positive + PRIOR_ROWS * rate) / (rows - positive + PRIOR_ROWS * (1.0 - rate))
        expected.append(0.0 if 0 in key[len(key) // 2 :] else np.log(credited) - np.log(rate / (1.0 - rate)))
    np.testing.assert_allclose(odds.log_odds(odds.places(_hashes([asked])))[0], expected, atol=1e-6)


def _keys(row: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Each category, then each pair: the columns and then the values."""
    alone = [(column, row[column]) for column in range(3)]
    return [*alone, *[(one, two, row[one], row[two]) for one, two in combinations(range(3), 2)]]


def test_a_missing_category_says_nothing_and_counts_nowhere() -> None:
    odds = CategoryOdds.empty(SCHEMA, 8, pairs_max=9)
    places = odds.places(_hashes([(0, 0, 0), (0, 3, 0)]))
    assert (places >= 0).sum() == 1
    assert len(odds.count(places, np.ones(2), np.ones(2))) == 1
    odds.table[:] = (20.0, 20.0)
    assert (odds.log_odds(places)[places < 0] == 0.0).all()
    assert (odds.log_odds(places)[places >= 0] != 0.0).all()


def test_full_counts_are_halved_so_a_change_is_followed() -> None:
    odds = CategoryOdds.empty(SCHEMA, 8, pairs_max=0)
    for label in (1.0, 0.0):
        for _ in range(40):
            places = odds.places(_hashes([(1, 2, 3)] * 250 + [(2, 3, 4)] * 250))
            odds.count(places, np.repeat([label, 1.0 - label], 250), np.ones(500))
            assert odds.table[:, 0].max() <= ROWS_MAX
            assert (odds.table[:, 1] <= odds.table[:, 0]).all()
    before, after = odds.log_odds(odds.places(_hashes([(2, 3, 4), (1, 2, 3)])))[:, 0]
    assert before > 1.0
    assert after < -1.0


def test_pairs_are_the_first_and_a_schema_of_numbers_has_none() -> None:
    assert CategoryOdds.empty(SCHEMA, 4, pairs_max=2).pairs.tolist() == [[0, 1], [0, 2]]
    none = CategoryOdds.empty(NUMERIC, 16, pairs_max=9)
    assert (none.table.shape, none.pairs.shape) == ((1, 2), (0, 2))
    assert none.log_odds(none.places(np.zeros((5, 0), np.uint64))).shape == (5, 0)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("odds.table", np.zeros((12, 2), np.float32)),
        ("odds.table", np.zeros((16, 2))),
        ("odds.base", np.zeros(3)),
        ("odds.pairs", np.array([[0, 3]])),
        ("odds.pairs", np.array([[-1, 0]])),
        ("odds.pairs", np.zeros(2, np.int64)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name: str, tensor: np.ndarray) -> None:
    tensors = CategoryOdds.empty(SCHEMA, 4, pairs_max=9).tensors()
    CategoryOdds.from_tensors(tensors, SCHEMA)
    with pytest.raises(ValueError, match=name):
        CategoryOdds.from_tensors({**tensors, name: tensor}, SCHEMA)
