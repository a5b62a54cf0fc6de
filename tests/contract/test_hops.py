"""Headers of single records survive on every broker, however they are read, and so do the trails in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from rheostat.schemas.hops import HEADER, Trail, read, write
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import Block, Headers, OutBlock
from rheostat.streams.engine.broker import Broker, StageConsumer, TopicSpec
from rheostat.streams.engine.hops import Hop
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.packed_headers import named
from tests.support.brokers import T0_MS, await_condition, commit
from tests.support.copy_stage import CopyStage

FEW: list[Headers | None] = [
    *(None, [("a", b"1")], None),
    [("name", b"first"), ("\u00fcn\u00ef", b"\x00\xff"), ("name", b""), ("name", b"x" * 10_000)],
    *([None] * 3),
    [("last", b"")],
]
# More than a worker takes ahead of time.
MANY: list[Headers | None] = [[("name", b"%d" % row)] if row % 100 == 7 else None for row in range(12_000)]


@pytest.fixture(params=["memory", "kafka", "kafka-classic"])
def broker(request: pytest.FixtureRequest) -> Broker:
    if request.param == "memory":
        made: Broker = MemoryBroker(WallClock(), wait_ms=300)
    else:
        made = request.getfixturevalue("make_kafka_broker")()
    made.create_topics([TopicSpec(name, 2, {"retention.ms": "-1"}) for name in ("in", "out")])
    return made


@pytest.mark.parametrize("headers", [FEW, MANY], ids=["few", "many"])
def test_headers_stay_with_their_records(broker: Broker, headers: list[Headers | None]) -> None:
    with closing(broker.transactional_producer("x")) as producer:
        count = len(headers)
        commit(producer, OutBlock("in", 0, [b"k"] * count, [b"v"] * count, [T0_MS] * count, headers))
    for blocks in (*all_ways(broker, count), list(broker.log().read("in", 0))):
        found = [each or None for block in blocks for each in block.headers or [None] * len(block)]
        assert found == headers
        assert named([block.headers for block in blocks], "name") == [
            value for own in headers if own for name, value in own if name == "name"
        ]
        assert sum(map(len, blocks)) == count


def all_ways(broker: Broker, count: int) -> Iterator[list[Block]]:
    """What each kind of reader gets of "in"."""
    for consumer in (broker.group_consumer("g", ["in"]), broker.static_consumer("s", ["in"])):
        with closing(consumer):
            yield received(consumer, count)
    with closing(broker.tailer(["in"], from_beginning=True)) as tailer:
        blocks: list[Block] = []

        def enough() -> bool:
            blocks.extend(tailer.poll(10_000, 50))
            return sum(map(len, blocks)) >= count

        await_condition(enough, f"{count} records")
        yield blocks


def received(consumer: StageConsumer, count: int) -> list[Block]:
    blocks: list[Block] = []

    def enough() -> bool:
        blocks.extend(consumer.poll(7_000, 50))
        consumer.start(dict.fromkeys(consumer.take_assigned()))
        return sum(map(len, blocks)) >= count

    await_condition(enough, f"{count} records")
    return blocks


def test_a_trail_goes_through_stages_to_the_end(broker: Broker) -> None:
    broker.create_topics([TopicSpec("end", 2, {"retention.ms": "-1"})])
    clock = WallClock()
    limits = LoopLimits(poll_timeout_ms=50)
    first, second = CopyStage(), CopyStage(("out",), "end", "again")
    hops = {"copy": Hop("copy", "out"), "again": Hop("again", "end")}
    began_ms = clock.now_ms()
    with closing(broker.producer()) as producer:
        for number in range(200):
            stamp = [(HEADER, write(Trail(clock.now_ms())))] if number % 10 == 0 else None
            producer.send("in", b"%d" % number, b"v", timestamp_ms=T0_MS, headers=stamp)
        assert producer.flush(30_000) == 0
    loops = [
        StageLoop(each, broker, slot="0", clock=clock, limits=limits, hop=hops[each.name]) for each in (first, second)
    ]
    log = broker.log()

    def arrived() -> list[Block]:
        return [block for number in range(2) for block in log.read("end", number)]

    def done() -> bool:
        for loop in loops:
            loop.step()
        return sum(map(len, arrived())) == 200

    try:
        await_condition(done, "everything copied twice")
    finally:
        for loop in loops:
            loop.close()
    trails = [read(value) for value in named([block.headers for block in arrived()], HEADER)]
    assert sum(each.count for each in trails) == 20
    for trail in trails:
        assert [each.stage for each in trail.passed] == ["copy", "again"]
        assert began_ms <= trail.produced_ms
        assert trail.last_ms <= clock.now_ms()
