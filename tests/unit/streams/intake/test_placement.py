from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.placement import misplaced

keys = st.lists(st.one_of(st.none(), st.binary(max_size=40)))


@given(keys, st.integers(1, 12), st.data())
def test_counts_what_kafkas_rule_puts_elsewhere(
    given_keys: list[bytes | None], partitions: int, data: st.DataObject
) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    count = len(given_keys)
    block = Block("t", partition, range(count), given_keys, [b""] * count, [0] * count)
    expected = sum(key is None or partition_for(key, partitions) != partition for key in given_keys)
    assert misplaced([block], {"t": partitions}) == expected
