"""Which examples stand: of each the last revision, and none that was taken back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rheostat.streams.standing import standing


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([("a", 0, 1.0), ("b", 0, 1.0)], [0, 1]),
        ([("a", 0, 1.0), ("b", 0, 1.0), ("a", 1, 0.5)], [1, 2]),
        ([("a", 0, 1.0), ("b", 0, 1.0), ("a", 1, 0.0)], [1]),
        ([("a", 0, 1.0), ("a", 1, 0.0), ("a", 2, 1.0)], [2]),
        ([("a", -1, 1.0), ("b", 0, 0.0)], [1]),
        ([("a", 0, 1.0), ("a", -1, 1.0)], [0]),
        ([], []),
    ],
)
def test_what_stands(records: list[tuple[str, int, float]], expected: list[int]) -> None:
    ids, revisions, weights = zip(*records, strict=True) if records else ((), (), ())
    found = standing(pa.array(ids, pa.string()), np.array(revisions, np.int64), np.array(weights, np.float64))
    assert found.tolist() == expected
