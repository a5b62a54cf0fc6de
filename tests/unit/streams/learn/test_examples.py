"""Blocks of examples as batches: what is kept, in which order, and where it came from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.features import hash_value
from rheostat.schemas import catalogue, codec
from rheostat.schemas.ids import COMMITTED
from rheostat.streams.engine.block import Block
from rheostat.streams.errors import Corrupt
from rheostat.streams.learn.examples import COLUMNS, Examples, decode_examples
from tests.support.examples import SCHEMA, an_example
from tests.support.schema_ids import ids_in_force
from tests.unit.schemas.older import value_of
from tests.unit.streams.intake.test_schema_ids import OLD_ID, cut, without

UNUSABLE: list[dict[str, Any]] = [
    {"feature_set": "toy@2"},
    {"feature_set": "toy@10"},
    {"feature_set": ""},
    {"numeric": [1.0]},
    {"numeric": [1.0, 2.0, 3.0]},
    {"numeric": [1.0, math.nan]},
    {"numeric": [-math.inf, 1.0]},
    {"categorical": []},
    {"categorical": ["red", "green"]},
    {"label": 1.0000001},
    {"label": -1e-9},
    {"label": math.nan},
    {"weight": -1.0},
    {"weight": math.inf},
    {"weight": math.nan},
]
changes = st.sampled_from([{}, {}, {"weight": 0.0}, {"label": 0.25}, {"categorical": [""]}, *UNUSABLE])


def block(partition: int, start: int, examples: list[dict[str, Any]]) -> Block:
    """Return a block with gaps between its offsets."""
    values = [codec.encode_record(catalogue.EXAMPLES, each) for each in examples]
    offsets = [start + 2 * row for row in range(len(values))]
    return Block(catalogue.EXAMPLES, partition, offsets, [b"k"] * len(values), values, [0] * len(values))


def numbered(first: int, of: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**an_example(first + row), **change} for row, change in enumerate(of)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(changes, min_size=1, max_size=6), min_size=1, max_size=4))
def test_several_blocks_give_their_usable_examples_in_order(plan: list[list[dict[str, Any]]]) -> None:
    of_blocks = [numbered(10 * index, of) for index, of in enumerate(plan)]
    found = decode_examples([block(index, 5, of) for index, of in enumerate(of_blocks)], SCHEMA)
    usable = [[change not in UNUSABLE for change in of] for of in plan]
    kept = [each for of, good in zip(of_blocks, usable, strict=True) for each, ok in zip(of, good, strict=True) if ok]
    assert [run.count for run in found.runs] == [sum(good) for good in usable]
    assert [(run.partition, run.start) for run in found.runs] == [(index, 5) for index in range(len(plan))]
    assert [run.end for run in found.runs] == [5 + 2 * len(of) - 1 for of in plan]
    assert [run for run in found.runs if run.count] == list(found.filled)
    assert found.offsets.tolist() == [5 + 2 * row for good in usable for row, ok in enumerate(good) if ok]
    assert found.records.column("example_id").to_pylist() == [each["example_id"] for each in kept]
    assert found.batch.numeric.tolist() == [each["numeric"] for each in kept]
    assert found.batch.categorical.tolist() == [[hash_value("colour", each["categorical"][0])] for each in kept]
    assert found.batch.label.tolist() == [each["label"] for each in kept]
    assert found.batch.weight.tolist() == [each["weight"] for each in kept]


@settings(deadline=None, max_examples=60)
@given(st.lists(changes, min_size=1, max_size=8), st.integers(0, 25), st.integers(0, 25))
def test_parts_of_a_run_are_those_between_offsets(of: list[dict[str, Any]], start: int, end: int) -> None:
    run = decode_examples([block(0, 5, numbered(0, of))], SCHEMA)
    expected = [at for at in run.offsets.tolist() if start <= at < end]
    part = run.within(start, end)
    assert part.offsets.tolist() == expected
    assert part.runs[0].count == len(part.batch) == part.records.num_rows == len(expected)
    first = int(np.searchsorted(run.offsets, start))
    assert part.batch.label.tolist() == run.batch.label.tolist()[first : first + len(expected)]
    assert _offsets(run.without(start, max(start, end))) == [
        at for at in run.offsets.tolist() if not start <= at < max(start, end)
    ]
    assert _offsets(run.without(start, None)) == [at for at in run.offsets.tolist() if at < start]


def _offsets(parts: list[Examples]) -> list[int]:
    return [at for part in parts for at in part.offsets.tolist()]


def test_examples_of_an_older_version_are_those_of_the_present_one() -> None:
    """They are decoded whole, where the others are not."""
    older = without(catalogue.EXAMPLES, "revision", "was_label", "was_weight")
    new = block(0, 5, numbered(0, [{}, {"feature_set": "toy@2"}, {"label": 0.25}]))
    values = [value_of(older, OLD_ID, cut(codec.decode_record(new.topic, each), older)) for each in new.values]
    old = Block(new.topic, new.partition, new.offsets, new.keys, values, new.timestamps_ms)
    expected = decode_examples([new, new], SCHEMA)
    assert expected.records.schema.names == list(COLUMNS)
    with ids_in_force(COMMITTED.replaced({}, {OLD_ID: older})):
        found = decode_examples([old, new], SCHEMA)
    assert found.records.equals(expected.records)
    assert found.runs == expected.runs
    assert np.array_equal(found.batch.numeric, expected.batch.numeric)
    assert np.array_equal(found.batch.categorical, expected.batch.categorical)


def test_a_record_that_does_not_decode_is_named_by_its_place() -> None:
    good, bad = block(0, 5, numbered(0, [{}, {}])), block(3, 70, numbered(2, [{}, {}, {}]))
    values = [*bad.values[:2], b"\x00\x00\x00\x00\x08garbage"]
    broken = Block(bad.topic, bad.partition, bad.offsets, bad.keys, values, bad.timestamps_ms)
    with pytest.raises(Corrupt, match=r"examples\[3\]@74"):
        decode_examples([good, broken], SCHEMA)
