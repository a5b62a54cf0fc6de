"""The later half of a step, found afterwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.watch.rows import read_rows
from rheostat.streams.watch.steps import later_halves
from tests.support.watch_rows import entries_block, entry

deeds = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.sampled_from(["x", "y"])), max_size=25)


@given(deeds, st.integers(0, 20))
def test_a_step_is_the_next_deed_of_an_actor_on_the_other_target_soon_after(
    deeds: list[tuple[int, str, str]], lockstep_ms: int
) -> None:
    deeds = sorted(deeds, key=lambda each: each[0])
    entries = [entry(f"e{row}", at, subject=who, target_id=what) for row, (at, who, what) in enumerate(deeds)]
    last: dict[str, tuple[int, str]] = {}
    expected = []
    for row, (at, who, what) in enumerate(deeds):
        before = last.get(who)
        if before is not None and before[1] != what and at - before[0] <= lockstep_ms:
            expected.append(row)
        last[who] = (at, what)
    assert later_halves(read_rows([entries_block(entries)]).events, lockstep_ms).tolist() == expected
