"""Features that say the same are found, whatever they are written in."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.copies import alike, constant_shares
from rheostat.learners.features import hash_columns

SCHEMA = FeatureSchema("toy@1", ("price", "log_price", "age", "still"), ("town", "code", "colour"))
ROWS = 2_000


def a_batch(seed: int = 0, noise: float = 0.0) -> Batch:
    """Return rows where log_price tells price and code tells town, but for `noise`; still is always 1."""
    random = np.random.default_rng(seed)
    price = random.lognormal(size=ROWS)
    log_price = np.log(price) + noise * random.normal(size=ROWS)
    town = random.choice(["Ulm", "Bonn", "Kiel", "Jena"], ROWS, p=[0.7, 0.1, 0.1, 0.1])
    code = np.where(random.random(ROWS) < noise, "?", np.char.upper(town))
    numeric = np.column_stack([price, -3.0 * log_price, random.normal(size=ROWS), np.ones(ROWS)])
    texts = [town.tolist(), code.tolist(), random.choice(["red", "blue"], ROWS).tolist()]
    return Batch(SCHEMA.id, numeric, hash_columns(SCHEMA, texts, ROWS), np.zeros(ROWS), np.ones(ROWS))


def test_a_copy_in_another_unit_and_a_renamed_category_are_copies() -> None:
    found = alike(SCHEMA, a_batch())
    assert [each.features for each in found] == [("price", "log_price"), ("town", "code")]
    assert [each.least for each in found] == pytest.approx([1.0, 1.0])


def test_what_is_only_related_is_no_copy() -> None:
    assert alike(SCHEMA, a_batch(noise=0.5)) == []


def test_categories_that_mostly_have_one_value_are_not_alike_for_that() -> None:
    """Guessing the commonest value is mostly right, but no copy: knowing the other does not help."""
    random = np.random.default_rng(1)
    schema = FeatureSchema("toy@1", (), ("one", "other"))
    texts = [random.choice(["a", "b"], ROWS, p=[0.99, 0.01]).tolist() for _ in range(2)]
    batch = Batch(schema.id, np.empty((ROWS, 0)), hash_columns(schema, texts, ROWS), np.zeros(ROWS), np.ones(ROWS))
    assert alike(schema, batch) == []


def test_copies_of_copies_are_one_group() -> None:
    schema = FeatureSchema("toy@1", ("a", "b", "c"))
    values = np.random.default_rng(2).normal(size=ROWS)
    numeric = np.column_stack([values, -values, values**3])
    (found,) = alike(schema, Batch(schema.id, numeric, np.empty((ROWS, 0), np.uint64), np.zeros(ROWS), np.ones(ROWS)))
    assert found.features == ("a", "b", "c")


def test_the_share_of_the_commonest_value_is_told() -> None:
    shares = constant_shares(SCHEMA, a_batch())
    assert shares["still"] == 1.0
    assert shares["town"] == pytest.approx(0.7, abs=0.05)
    assert shares["age"] == pytest.approx(1 / ROWS)
