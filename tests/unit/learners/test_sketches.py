"""Baseline sketches: what they say of values, what they keep to themselves, and how far other values are from them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.sketches import (
    category_distance,
    number_distance,
    sketch_categories,
    sketch_numbers,
)
from rheostat.schemas.feature_dictionary import read_feature_set
from rheostat.schemas.feature_sets import Feature
from rheostat.schemas.feature_sketches import FREQUENT_MAX, ROWS_PER_CATEGORY_MIN, CategorySketch, NumberSketch

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(deadline=None, max_examples=25)


def some_numbers(seed: int) -> list[float]:
    """100 to 400 numbers with ties and outliers, and some missing ones."""
    draw = np.random.default_rng(seed)
    values = np.round(draw.standard_cauchy(draw.integers(100, 400)) * 10, int(draw.integers(0, 3)))
    missing = draw.integers(0, 50)
    return [*draw.permuted(np.concatenate([values, np.full(missing, math.nan)])).tolist()]


def some_texts(seed: int) -> list[str]:
    """150 to 450 texts, few or many different ones, some of them hard to write, some missing."""
    draw = np.random.default_rng(seed)
    known = ["de", "fr", 'a "b" \\', "ä\x7f", *map(str, range(int(draw.integers(1, 60))))]
    return [*draw.choice(known, draw.integers(100, 400)).tolist(), *[""] * int(draw.integers(0, 50))]


NUMBERS, TEXTS = SEEDS.map(some_numbers), SEEDS.map(some_texts)
AMOUNT = Feature("amount", "numeric", "Paid.", "shop", "contract", 30, "request", unit="EUR", low=0.0, high=100.0)
COLOUR = Feature("colour", "categorical", "Seen.", "shop", "contract", 30, "request", categories=("red", "blue"))
HEAD = """
meaning = "A sale."
owner = "shop"
consent_basis = "contract"
retention_days = 30
available_at = "request"

[[feature]]
name = "x"
meaning = "A value."
"""


@FEW
@given(NUMBERS)
def test_a_sketch_of_numbers_says_what_they_are(values: list[float]) -> None:
    sketch = sketch_numbers(np.array(values))
    present = [each for each in values if not math.isnan(each)]
    assert sketch.count == len(values)
    assert sketch.missing == pytest.approx(1.0 - len(present) / len(values))
    assert sketch.mean == pytest.approx(math.fsum(present) / len(present), abs=1e-6)
    assert sketch.deviation == pytest.approx(float(np.std(present)), abs=1e-6)
    for level, quantile in zip((0.05, 0.25, 0.5, 0.75, 0.95), sketch.quantiles, strict=True):
        assert sum(each < quantile for each in present) <= level * len(present) + 1
        assert sum(each <= quantile for each in present) >= level * (len(present) - 1)


@FEW
@given(TEXTS)
def test_a_sketch_of_categories_says_which_are_frequent(values: list[str]) -> None:
    sketch = sketch_categories(values)
    counts = Counter(each for each in values if each)
    assert (sketch.count, sketch.distinct) == (len(values), len(counts))
    assert sketch.missing == pytest.approx(values.count("") / len(values))
    for name, share in sketch.frequent.items():
        assert share == pytest.approx(counts[name] / counts.total())
    least = min((counts[name] for name in sketch.frequent), default=0)
    unnamed = [count for name, count in counts.items() if name not in sketch.frequent]
    assert all(count <= max(least, ROWS_PER_CATEGORY_MIN - 1) for count in unnamed)


@FEW
@given(NUMBERS, TEXTS)
def test_the_order_of_rows_does_not_matter(numbers: list[float], texts: list[str]) -> None:
    turned = sketch_numbers(np.array(numbers[::-1]))
    straight = sketch_numbers(np.array(numbers))
    assert turned.quantiles == straight.quantiles
    assert turned.mean == pytest.approx(straight.mean, abs=1e-6)
    assert sketch_categories(texts[::-1]) == sketch_categories(texts)


@FEW
@given(NUMBERS, TEXTS)
def test_what_is_written_into_a_dictionary_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float], texts: list[str]
) -> None:
    file = tmp_path_factory.mktemp("features") / "x@1.toml"
    sketches: tuple[NumberSketch | CategorySketch, ...] = sketch_numbers(np.array(numbers)), sketch_categories(texts)
    kinds = 'type = "numeric"\nunit = "1"\nrange = [-inf, inf]', 'type = "categorical"\ncategories_max = 100'
    for sketch, kind in zip(sketches, kinds, strict=True):
        file.write_text(f"{HEAD}{kind}\n[feature.baseline]\n{sketch.as_toml()}")
        (feature,) = read_feature_set(file).features
        read = feature.baseline
        if isinstance(sketch, NumberSketch):
            assert isinstance(read, NumberSketch)
            assert (read.mean, *read.quantiles) == pytest.approx((sketch.mean, *sketch.quantiles), rel=1e-5)
            assert (read.missing, read.deviation) == pytest.approx((sketch.missing, sketch.deviation), rel=1e-5)
        else:
            assert isinstance(read, CategorySketch)
            assert read.frequent == pytest.approx(dict(sketch.frequent), rel=1e-5)
            assert (read.count, read.distinct) == (sketch.count, sketch.distinct)


def test_a_sketch_does_not_tell_the_value_of_one_person() -> None:
    values = np.array([*np.linspace(1.0, 2.0, 199), 987_654.0])
    assert max(sketch_numbers(values).quantiles) <= 2.0
    texts = ["common"] * 190 + ["a name"] * (ROWS_PER_CATEGORY_MIN - 1)
    assert set(sketch_categories(texts).frequent) == {"common"}
    assert len(sketch_categories([str(each) for each in range(30) for _ in range(20)]).frequent) == FREQUENT_MAX
    with pytest.raises(ValueError, match="99 values, a baseline needs at least 100"):
        sketch_numbers(np.array([1.0] * 99 + [math.nan] * 99))
    with pytest.raises(ValueError, match="99 values"):
        sketch_categories(["a"] * 99 + [None] * 99)


def test_values_out_of_range_are_counted_and_missing_ones_are_not() -> None:
    assert number_distance(AMOUNT, np.array([-1.0, 0.0, 100.0, 100.5, math.nan])).outside == 0.5
    flag = Feature("flag", "boolean", "Set.", "shop", "contract", 30, "request", low=0.0, high=1.0)
    assert number_distance(flag, np.array([0.0, 1.0, 0.5, 2.0])).outside == 0.5
    assert category_distance(COLOUR, ["red", "blue", "", None, "green"]).outside == pytest.approx(1 / 3)
    assert number_distance(AMOUNT, np.zeros(0)).outside == category_distance(COLOUR, []).outside == 0.0
    few = replace(COLOUR, categories=(), categories_max=2)
    assert category_distance(few, ["a", "b", "a", "b", None]).outside == 0.0
    assert category_distance(few, ["a", "b", "a", "b", "c"]).outside == pytest.approx(0.2)
    with pytest.raises(ValueError, match="finite, or NaN"):
        number_distance(AMOUNT, np.array([math.inf]))


@FEW
@given(NUMBERS, TEXTS)
def test_values_are_at_no_distance_from_their_own_sketch(numbers: list[float], texts: list[str]) -> None:
    array = np.array(numbers)
    own = replace(AMOUNT, low=-math.inf, high=math.inf, baseline=sketch_numbers(array))
    assert number_distance(own, array).shift == pytest.approx(0.0, abs=1e-9)
    assert number_distance(own, array).missing == pytest.approx(0.0)
    colour = replace(COLOUR, categories=(), categories_max=100, baseline=sketch_categories(texts))
    assert category_distance(colour, texts).shift == pytest.approx(0.0, abs=1e-9)
    assert category_distance(colour, ["never seen"]).shift == pytest.approx(
        sum(sketch_categories(texts).frequent.values())
    )


def test_a_shift_is_told_in_deviations_and_in_shares() -> None:
    values = np.tile([1.0, 3.0], 100)
    amount = replace(AMOUNT, baseline=sketch_numbers(values))
    assert number_distance(amount, values + 2.0).shift == pytest.approx(2.0)
    found = number_distance(amount, np.array([2.0, math.nan]))
    assert (found.missing, found.shift) == (0.5, 0.0)
    still = replace(AMOUNT, baseline=sketch_numbers(np.full(100, 2.0)))
    assert number_distance(still, np.array([1.0])).shift == -math.inf
    colour = replace(COLOUR, baseline=sketch_categories(["red"] * 60 + ["blue"] * 40))
    assert category_distance(colour, ["red"] * 5 + ["blue"] * 5).shift == pytest.approx(0.1)
    assert category_distance(colour, ["red"] * 6 + ["green"] * 4).shift == pytest.approx(0.4)
    assert category_distance(colour, [None]).shift is None
