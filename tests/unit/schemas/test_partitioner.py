"""Keys are placed as Kafka's Java client places them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.partitioner import murmur2, partition_for

# From Apache Kafka's own UtilsTest.testMurmur2, and the hash of no bytes.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
    b"": 275646681,
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_the_hash_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


@given(key=st.binary(max_size=40), n=st.integers(1, 10_000))
def test_a_partition_is_one_of_those_there_are(key: bytes, n: int) -> None:
    assert 0 <= partition_for(key, n) < n
