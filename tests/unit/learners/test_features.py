"""Columns into batches: stable hashes, and errors that name the feature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.features import batch_from_columns, check_batch, hash_value, select
from tests.unit.learners.support import ANY_SPEED

SCHEMA = FeatureSchema("pages@1", ("length", "age"), ("country", "device"))
COLUMNS: list[list[str | None]] = [["de", "fr", None], ["phone", "", "phone"]]


def test_hashes_never_change() -> None:
    assert hash_value("country", "de") == 0x505ED918B5D73741
    assert hash_value("country", "日本") == 0x2EE411734619612C


def test_columns_keep_the_order_of_the_schema() -> None:
    batch = batch_from_columns(SCHEMA, [[1, 2], [3, 4], [5, 6]], COLUMNS, [0.0, 1.0, 0.5], [1.0, 0.0, 2.0])
    assert batch.numeric.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert batch.categorical[0].tolist() == [hash_value("country", "de"), hash_value("device", "phone")]
    assert batch.categorical[2, 0] == 0
    assert batch.categorical[1, 1] == 0
    assert (batch.label.tolist(), batch.weight.tolist()) == ([0.0, 1.0, 0.5], [1.0, 0.0, 2.0])
    check_batch(SCHEMA, batch)


def test_for_prediction_label_and_weight_are_left_out() -> None:
    batch = batch_from_columns(SCHEMA, [[1, 2], [3, 4], [5, 6]], COLUMNS)
    assert (batch.label.tolist(), batch.weight.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_no_rows_and_no_features() -> None:
    assert len(batch_from_columns(SCHEMA, np.zeros((0, 2)), [[], []])) == 0
    assert batch_from_columns(FeatureSchema("none@1"), np.zeros((4, 0)), []).categorical.shape == (4, 0)


@ANY_SPEED
@given(st.text(max_size=5), st.text(max_size=5))
def test_equal_text_means_equal_hash_and_only_missing_is_zero(name: str, value: str) -> None:
    assert (hash_value(name, value) == 0) == (value == "")
    assert hash_value(name, value) == hash_value.__wrapped__(name, value)
    assert 0 <= hash_value(name, value) < 2**64


GOOD = np.zeros((3, 2))
BROKEN = np.array([[1.0, np.nan], [2.0, np.inf], [3.0, 3.0]])
REFUSED: dict[str, tuple[str, Callable[[], Batch]]] = {
    "not finite": (
        r"'age': 2 of 3 .* row 0",
        lambda: batch_from_columns(SCHEMA, BROKEN, COLUMNS),
    ),
    "columns missing": (r"expected \(rows, 2\)", lambda: batch_from_columns(SCHEMA, np.zeros((3, 1)), COLUMNS)),
    "one axis": (r"expected \(rows, 2\)", lambda: batch_from_columns(SCHEMA, np.zeros(3), COLUMNS)),
    "categories missing": ("1 categorical features, expected 2", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS[:1])),
    "short category": ("'device': 2 values", lambda: batch_from_columns(SCHEMA, GOOD, [COLUMNS[0], ["a", "b"]])),
    "label above one": ("label", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS, [0.0, 1.0, 1.5])),
    "label missing": ("label", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS, [0.0, np.nan, 1.0])),
    "labels short": (r"label: shape \(2,\)", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS, [0.0, 1.0])),
    "negative weight": ("weight", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS, [0, 0, 0], [1, -1, 1])),
    "endless weight": ("weight", lambda: batch_from_columns(SCHEMA, GOOD, COLUMNS, [0, 0, 0], [1, np.inf, 1])),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused(what: str) -> None:
    message, make = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        make()


def test_batches_of_another_schema_or_shape_are_refused() -> None:
    batch = batch_from_columns(SCHEMA, GOOD, COLUMNS)
    with pytest.raises(ValueError, match="'pages@2', expected 'pages@1'"):
        check_batch(SCHEMA, replace(batch, schema_id="pages@2"))
    with pytest.raises(ValueError, match="shapes"):
        check_batch(SCHEMA, replace(batch, weight=np.ones(2)))


@ANY_SPEED
@given(st.lists(st.integers(0, 2), max_size=6))
def test_select_takes_rows_of_every_column(rows: list[int]) -> None:
    batch = batch_from_columns(SCHEMA, [[0, 0], [1, 1], [2, 2]], COLUMNS, [0, 0.5, 1], [3, 4, 5])
    chosen = select(batch, np.array(rows, np.int64))
    assert chosen.numeric[:, 0].tolist() == rows
    assert chosen.label.tolist() == [row / 2 for row in rows]
    assert chosen.weight.tolist() == [row + 3 for row in rows]
    assert chosen.categorical.tolist() == [batch.categorical[row].tolist() for row in rows]
