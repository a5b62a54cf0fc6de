"""Hypothesis strategies for records of any of our schemas, and canonical ways to compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rheostat.schemas.documents import document, plain

Record = dict[str, Any]

# A record has up to twenty fields, so drawing one takes long; every law runs over every schema instead.
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "string": st.one_of(st.text(max_size=6), st.sampled_from(["", "x" * 63, "y" * 64, "\U0001f600" * 20])),
    "bytes": st.binary(max_size=20),
    "boolean": st.booleans(),
    "int": st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([63, 64, -64, -65, 2**31 - 1, -(2**31)])),
    "long": st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([63, 64, -64, -65, 2**63 - 1, -(2**63)])),
    "float": st.floats(width=32),
    "double": st.floats(),
}


def records(schema: str) -> st.SearchStrategy[Record]:
    """Return records with every field set, timestamps as integers."""
    return records_of(document(schema))


def records_of(avro: Mapping[str, Any]) -> st.SearchStrategy[Record]:
    """Return records of an Avro document."""
    return _values(plain(avro))


def _values(avro: Any) -> st.SearchStrategy[Any]:
    if isinstance(avro, str):
        return _SCALARS[avro]
    if isinstance(avro, list):
        return st.one_of([_values(branch) for branch in avro])
    if avro["type"] == "array":
        return st.lists(_values(avro["items"]), max_size=3)
    if avro["type"] == "map":
        return st.dictionaries(st.text(max_size=8), _values(avro["values"]), max_size=4)
    if avro["type"] == "enum":
        return st.sampled_from(avro["symbols"])
    order = [field["name"] for field in avro["fields"]]
    fields = st.tuples(*(_values(field["type"]) for field in avro["fields"]))
    return fields.map(lambda values: dict(zip(order, values, strict=True)))


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
