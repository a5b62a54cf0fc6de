"""Categories of a block are hashed as those of a request are, though each is looked at only once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.features import SECOND, hash_columns
from rheostat.streams.learn.examples import category_hashes

SCHEMA = FeatureSchema("toy@1", categorical=("colour", "size"))
OF_TWO = FeatureSchema("toy@2", categorical=("colour", f"colour{SECOND}"))

rows = st.lists(st.lists(st.sampled_from(["", "red", "rot", "größe", "red "]), min_size=2, max_size=2), max_size=8)


@given(rows, st.integers(0, 3), st.sampled_from([SCHEMA, OF_TWO]))
def test_hashes_are_those_of_columns(texts: list[list[str]], skipped: int, schema: FeatureSchema) -> None:
    batch = pa.record_batch({"categorical": pa.array(texts, pa.list_(pa.string()))}).slice(skipped)
    kept = texts[skipped:]
    expected = hash_columns(schema, [[row[index] for row in kept] for index in range(2)], len(kept))
    assert np.array_equal(category_hashes(batch, schema), expected)
