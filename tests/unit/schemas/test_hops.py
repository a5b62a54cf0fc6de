"""Trails in headers: written and read back, bounded, strict, and never a cause of failure."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.hops import BYTES_MAX, COUNT_MAX, STAGES_MAX, BadTrail, Passed, Trail, read, thinned, write

TIMES = st.integers(0, 99_999_999_999_999)
STAGES = st.sampled_from(["intake", "join", "intake-join", "learn"])


@st.composite
def trails(draw: st.DrawFn, stages_max: int = STAGES_MAX) -> Trail:
    steps = draw(st.lists(st.integers(0, 500_000_000), max_size=2 * stages_max))
    produced_ms = draw(TIMES)
    at = [produced_ms + each for each in accumulate(steps)]
    passed = [Passed(draw(STAGES), *each) for each in zip(at[::2], at[1::2], strict=False)]
    return Trail(produced_ms, draw(st.integers(1, COUNT_MAX)), tuple(passed))


@given(trails())
def test_what_is_written_is_read_back_and_bounded(trail: Trail) -> None:
    value = write(trail)
    assert len(value) <= BYTES_MAX
    assert read(value) == trail


def test_the_form_is_as_it_is_documented() -> None:
    trail = Trail(1_763_806_572_000)
    for stage, read_ms, written_ms in (("intake", 12, 19), ("join", 31, 35), ("learn", 52, 60)):
        trail = trail.then(stage, trail.produced_ms + read_ms, trail.produced_ms + written_ms)
    assert write(trail) == b"1;1763806572000*1;intake:12/19;join:31/35;learn:52/60"


@given(trails(), st.data())
def test_what_was_cut_or_changed_is_another_trail_or_refused(trail: Trail, data: st.DataObject) -> None:
    value = bytearray(write(trail))
    if data.draw(st.booleans()):
        del value[data.draw(st.integers(0, len(value) - 1)) :]
    else:
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(value))
    except BadTrail:
        return
    assert read(write(found)) == found


@given(st.binary(max_size=2 * BYTES_MAX))
def test_garbage_is_refused(value: bytes) -> None:
    with pytest.raises(BadTrail):
        read(value)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "version"),
        (b"2;1*1", "version"),
        (b"1;1*1" + b";a:0/0" * 100, "length"),
        (b"1;1*1" + b";a:0/0" * (STAGES_MAX + 1), "form"),
        (b"1;1*1;intake:5/4", "form"),
        (b"1;1*1;intake:5/6;join:4/7", "form"),
        (b"1;1*1;intake:-1/4", "form"),
        (b"1;1*0", "form"),
        (b"1;1*1000001", "form"),
        (b"1;1*1;", "form"),
        (b"1;1*1\n", "form"),
        ("1;١*1".encode(), "form"),
    ],
)
def test_a_refusal_says_what_is_wrong(value: bytes, fault: str) -> None:
    with pytest.raises(BadTrail) as refused:
        read(value)
    assert refused.value.fault == fault


def test_more_stages_than_can_be_read_are_not_written() -> None:
    with pytest.raises(BadTrail):
        write(Trail(0, 1, (Passed("a", 0, 0),) * (STAGES_MAX + 1)))


@given(trails(STAGES_MAX - 1), STAGES, TIMES, TIMES)
def test_times_never_fall_whatever_the_clocks_say(trail: Trail, stage: str, read_ms: int, written_ms: int) -> None:
    longer = trail.then(stage, read_ms, written_ms)
    times = [longer.produced_ms, *(at for each in longer.passed for at in each[1:])]
    assert times == sorted(times)
    assert longer.passed[:-1] == trail.passed


@given(trails(), TIMES)
def test_nothing_of_a_trail_lies_after_now(trail: Trail, now_ms: int) -> None:
    found = trail.until(now_ms)
    assert found.last_ms <= now_ms
    assert found == trail or trail.last_ms > now_ms
    times = [found.produced_ms, *(at for each in found.passed for at in each[1:])]
    assert times == sorted(times)


@given(trails(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_hops_add_up_to_the_whole_way(trail: Trail, publish_ms: int, follow_ms: int) -> None:
    read_ms = trail.last_ms + publish_ms
    spans = trail.spans(read_ms, read_ms + follow_ms)
    assert sum(span_ms for _, span_ms in spans) == read_ms + follow_ms - trail.produced_ms
    assert min(span_ms for _, span_ms in spans) >= 0
    assert spans[-1] == ("follow", follow_ms)


def test_hops_are_named_by_who_works_and_who_is_waited_for() -> None:
    trail = Trail(0).then("intake", 10, 11).then("join", 13, 16).then("learn", 20, 25)
    assert trail.spans(31, 38) == [
        *(("produce", 10), ("intake", 1), ("to-join", 2), ("join", 3), ("to-learn", 4), ("learn", 5)),
        *(("publish", 6), ("follow", 7)),
    ]
    assert Trail(0).spans(4, 6) == [("produce", 4), ("follow", 2)]


@given(st.lists(st.builds(Trail, st.integers(0, 100), st.integers(1, 50)), max_size=60), st.integers(1, 10))
def test_the_few_stand_for_all(given_: list[Trail], most: int) -> None:
    few = thinned(given_, most)
    assert len(few) == min(most, len(given_))
    assert sum(each.count for each in few) == sum(each.count for each in given_)
    assert {each.produced_ms for each in few} <= {each.produced_ms for each in given_}


def test_the_few_are_spread_over_all() -> None:
    few = thinned([Trail(at) for at in range(100)], 4)
    assert [(each.produced_ms, each.count) for each in few] == [(12, 25), (37, 25), (62, 25), (87, 25)]
