"""How a stage carries trails on: onto one record, a few for all; what cannot be read changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.hops import HEADER, STAGES_MAX, Passed, Trail, read, write
from rheostat.streams.client.stamps import Stamps
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Block, Headers, OutBlock
from rheostat.streams.engine.hops import AGE_MAX_MS, READ_MAX, TRAILS_MAX, Hop, Relay, trails_of
from rheostat.streams.topology import INTAKE_JOIN, TOPOLOGY, hop_of, rows

NOW_MS = 1_760_000_000_000
HOP = Hop("s", "out")


def stamp(age_ms: int, name: str = HEADER) -> tuple[str, bytes]:
    return (name, write(Trail(NOW_MS - age_ms)))


def block(headers: Sequence[Headers | None] | None, records: int = 0) -> Block:
    count = records or len(headers or ())
    return Block("in", 0, range(count), [b"k"] * count, [b"v"] * count, [NOW_MS] * count, headers)


def out(topic: str, records: int, headers: Sequence[Headers | None] | None = None) -> OutBlock:
    return OutBlock(topic, 0, [b"k"] * records, [b"v"] * records, [NOW_MS] * records, headers)


class Relayed:
    """What a relay of the stage `s`, which writes to `out`, made of one transaction that took 8 ms."""

    def __init__(self, read: Sequence[Block], wrote: Sequence[OutBlock], hop: Hop | None = HOP) -> None:
        self.faults: list[str] = []
        relay = Relay(hop, self.faults.append)
        relay.begin()
        self.given = wrote
        self.written = relay.onto(wrote, read, NOW_MS, NOW_MS + 8)
        self.passed = relay.passed

    def trails(self) -> list[Trail]:
        return [read(value) for own in self.headers() if own for name, value in own if name == HEADER]

    def headers(self) -> list[Headers | None]:
        return [own for each in self.written if each.headers is not None for own in each.headers]


def test_a_trail_goes_onto_the_last_record_with_the_stage_s_times() -> None:
    relayed = Relayed([block([None, [("other", b"x"), stamp(30)], None])], [out("aside", 2), out("out", 3)])
    assert relayed.trails() == [Trail(NOW_MS - 30, 1, (Passed("s", NOW_MS, NOW_MS + 8),))] == relayed.passed
    assert [each.headers is None for each in relayed.written] == [True, False]
    assert relayed.headers()[:2] == [None, None]
    assert not relayed.faults


def test_what_was_written_stays_as_it_is() -> None:
    given = [out("out", 2, [[("a", b"1")], [("b", b"2")]])]
    relayed = Relayed([block([[stamp(1)]])], given)
    assert relayed.headers()[0] == [("a", b"1")]
    last = relayed.headers()[1]
    assert last is not None
    assert last[:1] == [("b", b"2")]
    assert given[0].headers == [[("a", b"1")], [("b", b"2")]]


@pytest.mark.parametrize(
    ("read_", "wrote", "hop"),
    [
        (block(None, 3), [out("out", 1)], HOP),
        (block([[("other", b"x")]]), [out("out", 1)], HOP),
        (block([[stamp(1)]]), [out("aside", 1)], HOP),
        (block([[stamp(1)]]), [out("out", 0)], HOP),
        (block([[stamp(1)]]), [], HOP),
        (block([[stamp(1)]]), [out("out", 1)], None),
    ],
)
def test_without_stamps_or_without_output_nothing_is_touched(
    read_: Block, wrote: list[OutBlock], hop: Hop | None
) -> None:
    relayed = Relayed([read_], wrote, hop)
    assert relayed.written is wrote
    assert not relayed.passed


@given(st.lists(st.integers(0, 1_000), max_size=READ_MAX))
def test_a_few_trails_stand_for_all_that_were_read(ages_ms: list[int]) -> None:
    relayed = Relayed([block([[stamp(age)] for age in ages_ms])], [out("out", 1)])
    trails = relayed.trails()
    assert len(trails) == min(TRAILS_MAX, len(ages_ms))
    assert sum(each.count for each in trails) == len(ages_ms)


def test_of_very_many_stamps_some_are_read_for_all() -> None:
    headers = [[stamp(1)]] * (10 * READ_MAX - 3)
    found = trails_of([headers], NOW_MS, pytest.fail)
    assert len(found) == READ_MAX
    assert sum(each.count for each in found) == len(headers)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"9;1*1", "version"),
        (b"1;1*1" + b"x" * 10_000, "length"),
        (b"1;garbage", "form"),
        (b"", "version"),
        (write(Trail(NOW_MS - AGE_MAX_MS - 1)), "age"),
        (write(Trail(0)), "age"),
    ],
)
def test_what_cannot_be_used_is_counted_and_the_rest_goes_on(value: bytes, fault: str) -> None:
    relayed = Relayed([block([[(HEADER, value)], [stamp(5)]])], [out("out", 1)])
    assert relayed.faults == [fault]
    assert [each.produced_ms for each in relayed.trails()] == [NOW_MS - 5]


def test_what_comes_from_the_future_counts_as_now() -> None:
    ahead = Trail(NOW_MS - 5).then("before", NOW_MS - 3, NOW_MS + 1_000_000)
    relayed = Relayed([block([[stamp(-7_000)], [(HEADER, write(ahead))]])], [out("out", 1)])
    assert relayed.faults == ["clock", "clock"]
    assert relayed.trails() == [
        Trail(NOW_MS).then("s", NOW_MS, NOW_MS + 8),
        Trail(NOW_MS - 5).then("before", NOW_MS - 3, NOW_MS).then("s", NOW_MS, NOW_MS + 8),
    ]


def test_a_trail_that_goes_in_circles_ends() -> None:
    trail = Trail(NOW_MS, 1, (Passed("s", NOW_MS, NOW_MS),) * STAGES_MAX)
    relayed = Relayed([block([[(HEADER, write(trail))]])], [out("out", 1)])
    assert relayed.written is relayed.given


def test_the_hops_of_the_pipeline_are_what_its_stages_write_and_read() -> None:
    for row in (INTAKE_JOIN, *TOPOLOGY):
        hop = hop_of(f"{row.name}-linear" if row.per_model else row.name)
        assert hop is None or hop.topic in row.outputs
    for way in (["intake", "join", "learn"], ["intake-join", "learn"]):
        for before, after in pairwise(way):
            hop = hop_of(before)
            assert hop is not None
            assert hop.stage == before
            assert hop.topic in rows([after])[0].sources


def test_the_first_and_every_so_many_th_event_is_stamped() -> None:
    stamps = Stamps(3, ManualClock(NOW_MS))
    assert [bool(stamps.headers()) for _ in range(7)] == [True, False, False, True, False, False, True]
    assert Stamps(1, ManualClock(NOW_MS)).headers() == [stamp(0)]
    assert Stamps(0).headers() == []
    with pytest.raises(ValueError, match="every: -1"):
        Stamps(-1)
