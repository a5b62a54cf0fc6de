"""Hypothesis strategies for records of any of our schemas, and canonical ways to compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from rheostat.schemas.documents import document, plain

Record = dict[str, Any]

_SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "string": st.text(max_size=80),
    "bytes": st.binary(max_size=80),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(),
}


def records(schema: str) -> st.SearchStrategy[Record]:
    """Return records with every field set, timestamps as integers."""
    return _values(plain(document(schema)))


def _values(avro: Any) -> st.SearchStrategy[Any]:
    if isinstance(avro, str):
        return _SCALARS[avro]
    if isinstance(avro, list):
        return st.one_of([_values(branch) for branch in avro])
    if avro["type"] == "array":
        return st.lists(_values(avro["items"]), max_size=4)
    if avro["type"] == "map":
        return st.dictionaries(st.text(max_size=8), _values(avro["values"]), max_size=4)
    if avro["type"] == "enum":
        return st.sampled_from(avro["symbols"])
    return st.fixed_dictionaries({field["name"]: _values(field["type"]) for field in avro["fields"]})


def damaged(value: bytes) -> st.SearchStrategy[bytes]:
    """Return values made from a good one by cutting, lengthening, replacing or inserting bytes."""
    places = st.integers(0, len(value))
    return st.one_of(
        places.map(lambda at: value[:at]),
        st.binary(min_size=1, max_size=4).map(lambda tail: value + tail),
        st.tuples(places, st.binary(min_size=1, max_size=12)).map(lambda p: value[: p[0]] + p[1] + value[p[0] :]),
        st.tuples(places, st.binary(min_size=1, max_size=3)).map(
            lambda p: value[: p[0]] + p[1] + value[p[0] + len(p[1]) :]
        ),
        st.binary(max_size=40),
    )
