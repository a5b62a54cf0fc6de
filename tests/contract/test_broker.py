"""What every broker guarantees to the engine; the same laws for Kafka (both group protocols) and the one in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle

import pytest

from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import Committed, OutBlock, TopicPartition
from rheostat.streams.engine.broker import Broker, StageConsumer, Tailer, TopicSpec, TransactionalProducer
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Abortable, ConfigError, Fatal, Fenced, Retryable
from tests.support.brokers import (
    T0_MS,
    Member,
    await_condition,
    await_ownership,
    commit,
    kafka_broker,
    out_block,
    positions,
    publish,
    read_values,
    tail,
    values_of,
)

IN0 = TopicPartition("in", 0)


@pytest.fixture(params=["memory", "kafka", "kafka-classic"])
def broker(request: pytest.FixtureRequest) -> Broker:
    if request.param == "memory":
        made: Broker = MemoryBroker(WallClock(), wait_ms=300)
    else:
        bootstrap = request.getfixturevalue("kafka")
        made = kafka_broker(bootstrap, "classic" if request.param == "kafka-classic" else "consumer")
    # Event times of tests lie in the past: a broker's default retention would delete them at its next check.
    made.create_topics([TopicSpec(name, 4, {"retention.ms": "-1"}) for name in ("in", "other", "out")])
    return made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Clients:
    """Opens clients of one broker that are closed at the end of the test."""

    def __init__(self, broker: Broker, stack: ExitStack) -> None:
        self._broker = broker
        self._stack = stack

    def member(self, *topics: str, group: str = "g", name: str = "") -> Member:
        return Member(self._closing(self._broker.group_consumer(group, topics or ("in",), name=name)))

    def static(self, *topics: str, group: str = "s") -> Member:
        return Member(self._closing(self._broker.static_consumer(group, topics or ("in",))))

    def producer(self, transactional_id: str = "x") -> TransactionalProducer:
        producer = self._broker.transactional_producer(transactional_id)
        self._stack.callback(producer.close)
        return producer

    def tailer(self, *topics: str, from_beginning: bool = True) -> Tailer:
        tailer = self._broker.tailer(topics or ("out",), from_beginning=from_beginning)
        self._stack.callback(tailer.close)
        return tailer

    def _closing(self, consumer: StageConsumer) -> StageConsumer:
        self._stack.callback(consumer.close)
        return consumer


@pytest.fixture
def clients(broker: Broker, stack: ExitStack) -> Clients:
    return Clients(broker, stack)


@pytest.fixture(params=["group", "static"])
def open_member(request: pytest.FixtureRequest, clients: Clients) -> Callable[[], Member]:
    """Either kind of consumer of "in": both deliver by the same laws."""
    return clients.member if request.param == "group" else clients.static


# Topics


def test_topics_are_created_once_and_have_their_partitions(broker: Broker) -> None:
    assert broker.create_topics([TopicSpec("in", 4), TopicSpec("new", 3)]) == ["new"]
    assert broker.create_topics([TopicSpec("new", 3)]) == []
    assert [broker.log().partitions(topic) for topic in ("in", "new")] == [4, 3]


def test_a_missing_topic_is_a_configuration_error_naming_it(broker: Broker) -> None:
    for use in (
        lambda: broker.group_consumer("g", ["absent"]),
        lambda: broker.static_consumer("g", ["absent"]),
        lambda: broker.tailer(["absent"], from_beginning=True),
        lambda: broker.log().partitions("absent"),
    ):
        with pytest.raises(ConfigError, match="absent"):
            use()


# Transactions


def test_outputs_and_offsets_appear_together_at_commit(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a", b"b"])
    member, producer, tailer = clients.member(), clients.producer(), clients.tailer()
    member.receive(2)
    producer.begin()
    producer.write(out_block("out", 0, [b"A"]))
    producer.write(out_block("out", 1, [b"B"]))
    producer.send_offsets({IN0: Committed(2, "")}, member.consumer.group_metadata())
    assert tailer.poll(10, 200) == []
    with pytest.raises(Retryable):
        member.consumer.committed([IN0])
    producer.commit()
    assert sorted(filter(None, tail(tailer, 2))) == [b"A", b"B"]
    assert member.consumer.committed([IN0])[IN0].offset == 2


def test_an_aborted_transaction_leaves_nothing_but_a_gap_in_offsets(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a"])
    member, producer = clients.member(), clients.producer()
    member.receive(1)
    commit(producer, out_block("out", 0, [b"first"]))
    producer.begin()
    producer.write(out_block("out", 0, [b"dropped"] * 3))
    producer.send_offsets({IN0: Committed(1, "")}, member.consumer.group_metadata())
    producer.abort()
    commit(producer, out_block("out", 0, [b"last"]))
    (block,) = merged(broker, "out")
    assert block[0] == [b"first", b"last"]
    assert block[1][1] - block[1][0] > 1
    assert member.consumer.committed([IN0]) == {IN0: Committed(None, "")}


def merged(broker: Broker, topic: str) -> list[tuple[list[bytes | None], list[int]]]:
    blocks = list(broker.log().read(topic, 0))
    return [(values_of(blocks), [offset for block in blocks for offset in block.offsets])]


def test_an_abort_may_follow_at_once_on_a_write(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    for number in range(20):
        commit(producer, out_block("out", 0, [b"%d" % number]))
        producer.begin()
        producer.write(out_block("out", 1, [b"dropped"]))
        producer.abort()
    assert read_values(broker, "out", 0) == [b"%d" % number for number in range(20)]
    assert read_values(broker, "out", 1) == []


def test_readers_wait_at_an_open_transaction_and_keep_the_order(broker: Broker, clients: Clients) -> None:
    producer, tailer = clients.producer(), clients.tailer()
    commit(producer, out_block("out", 0, [b"0"]))
    producer.begin()
    producer.write(out_block("out", 0, [b"1"]))
    # Offsets are given when records arrive: make sure the transaction's record is first.
    await_condition(lambda: has_reached_the_log(broker, "out"), "the open transaction's record")
    publish(broker, "out", 0, [b"2"])
    assert tail(tailer, 1) == [b"0"]
    assert tailer.poll(10, 300) == []
    producer.commit()
    assert tail(tailer, 2) == [b"1", b"2"]


def has_reached_the_log(broker: Broker, topic: str) -> bool:
    """Whether an open transaction's records are in the log: a tailer made now cannot catch up."""
    probe = broker.tailer([topic], from_beginning=True)
    try:
        probe.poll(10, 100)
        return not probe.caught_up()
    finally:
        probe.close()


def test_committed_positions_carry_their_metadata(broker: Broker, clients: Clients) -> None:
    member, producer = clients.member(), clients.producer()
    await_ownership([member], lambda: len(member.owned) == 4)
    in1, in2 = TopicPartition("in", 1), TopicPartition("in", 2)
    producer.begin()
    producer.send_offsets({IN0: Committed(0, "ä" * 2000), in1: Committed(0, "{}")}, member.consumer.group_metadata())
    producer.commit()
    assert member.consumer.committed([IN0, in1, in2]) == {
        IN0: Committed(0, "ä" * 2000),
        in1: Committed(0, "{}"),
        in2: Committed(None, ""),
    }


def test_metadata_over_the_limit_aborts(clients: Clients) -> None:
    member, producer = clients.member(), clients.producer()
    await_ownership([member], lambda: len(member.owned) == 4)
    producer.begin()
    with pytest.raises(Abortable):
        producer.send_offsets({IN0: Committed(0, "x" * 4097)}, member.consumer.group_metadata())
    producer.abort()


def test_a_newer_producer_fences_the_older_and_aborts_its_transaction(broker: Broker, clients: Clients) -> None:
    old = clients.producer("slot-0")
    old.begin()
    old.write(out_block("out", 0, [b"zombie"]))
    new = clients.producer("slot-0")
    commit(new, out_block("out", 0, [b"alive"]))
    with pytest.raises(Fenced):
        old.commit()
    assert read_values(broker, "out") == [b"alive"]
    commit(new, out_block("out", 0, [b"still"]))


def test_other_transactional_ids_do_not_fence(broker: Broker, clients: Clients) -> None:
    one, two = clients.producer("slot-0"), clients.producer("slot-1")
    commit(one, out_block("out", 0, [b"1"]))
    commit(two, out_block("out", 0, [b"2"]))
    commit(one, out_block("out", 0, [b"3"]))
    assert read_values(broker, "out") == [b"1", b"2", b"3"]


def test_an_unknown_partition_aborts_and_the_producer_goes_on(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    producer.begin()
    producer.write(out_block("out", 0, [b"with it"]))
    with pytest.raises(Abortable):
        write_and_commit(producer, out_block("out", 99, [b"nowhere"]))
    with pytest.raises(Abortable):
        producer.commit()
    producer.abort()
    commit(producer, out_block("out", 0, [b"after"]))
    assert read_values(broker, "out") == [b"after"]


def write_and_commit(producer: TransactionalProducer, block: OutBlock) -> None:
    """Either call may be the one that notices."""
    producer.write(block)
    producer.commit()


def test_calls_outside_a_transaction_are_refused_and_abort_is_not(clients: Clients) -> None:
    producer = clients.producer()
    for call in (producer.commit, lambda: producer.write(out_block("out", 0, [b"x"]))):
        with pytest.raises(Fatal):
            call()
    producer.abort()


def test_an_offsets_only_and_an_empty_transaction_commit(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a"])
    member, producer = clients.member(), clients.producer()
    blocks = member.next_blocks()
    producer.begin()
    producer.send_offsets(positions(blocks), member.consumer.group_metadata())
    producer.commit()
    commit(producer)
    commit(producer, out_block("out", 0, []))
    assert member.consumer.committed([IN0])[IN0].offset == 1
    assert read_values(broker, "out") == []


# Groups


def test_two_topics_are_assigned_in_co_partitions_and_hand_over(clients: Clients) -> None:
    first = clients.member("in", "other")
    await_ownership([first], lambda: len(first.owned) == 8)
    second = clients.member("in", "other")
    await_ownership([first, second], lambda: len(first.owned) == 4 and len(second.owned) == 4)
    assert not first.owned & second.owned
    for member in (first, second):
        numbers = {topic: {tp.partition for tp in member.owned if tp.topic == topic} for topic in ("in", "other")}
        assert numbers["in"] == numbers["other"]
        assert len(numbers["in"]) == 2
    first.consumer.close()
    await_ownership([second], lambda: len(second.owned) == 8)


def test_a_partition_that_changed_hands_continues_at_the_committed_offset(broker: Broker, clients: Clients) -> None:
    for partition in range(4):
        publish(broker, "in", partition, [b"%d-%d" % (partition, i) for i in range(4)])
    first, producer = clients.member(), clients.producer()
    await_ownership([first], lambda: sum(map(len, first.received)) == 16)
    producer.begin()
    producer.send_offsets(
        {TopicPartition("in", p): Committed(3, "") for p in range(4)}, first.consumer.group_metadata()
    )
    producer.commit()
    second = clients.member()
    await_ownership([first, second], lambda: len(first.owned) == 2 and len(second.owned) == 2)
    await_ownership([first, second], lambda: sum(map(len, second.received)) == 2)
    assert {value for value in values_of(second.received) if value} == {b"%d-3" % tp.partition for tp in second.owned}


def test_what_a_member_holds_is_known_by_its_name_and_where_it_stands_before_one_joins(
    broker: Broker, clients: Clients
) -> None:
    assert broker.held_by("g", "one") == []
    publish(broker, "in", 0, [b"a"])
    first, producer = clients.member("in", "other", name="one"), clients.producer()
    blocks = first.next_blocks()
    producer.begin()
    producer.send_offsets(positions(blocks, "known"), first.consumer.group_metadata())
    producer.commit()
    held = broker.held_by("g", "one")
    assert held == sorted(first.owned)
    assert len(held) == 8
    assert broker.held_by("g", "on") == broker.held_by("h", "one") == []
    successor = clients.member("in", "other", name="one")
    assert successor.consumer.committed(held)[IN0] == Committed(1, "known")


def test_offsets_under_a_stale_membership_are_refused(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a"])
    first, producer = clients.member(), clients.producer()
    blocks = first.next_blocks()
    stale = first.consumer.group_metadata()
    second = clients.member()
    await_ownership([first, second], lambda: len(first.owned) == 2 and len(second.owned) == 2)
    producer.begin()
    producer.write(out_block("out", 0, [b"A"]))
    with pytest.raises(Abortable):
        producer.send_offsets(positions(blocks), stale)
    producer.abort()
    assert read_values(broker, "out") == []
    commit(producer, out_block("out", 0, [b"later"]))
    assert read_values(broker, "out") == [b"later"]


def test_offsets_of_a_consumer_that_left_are_refused(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a"])
    first, producer = clients.member(), clients.producer()
    blocks = first.next_blocks()
    left = first.consumer.group_metadata()
    first.consumer.close()
    producer.begin()
    with pytest.raises(Abortable):
        producer.send_offsets(positions(blocks), left)
    producer.abort()


def test_groups_do_not_share_positions(broker: Broker, clients: Clients) -> None:
    publish(broker, "in", 0, [b"a"])
    one, other = clients.member(group="one"), clients.member(group="other")
    blocks, producer = one.next_blocks(), clients.producer()
    producer.begin()
    producer.send_offsets(positions(blocks), one.consumer.group_metadata())
    producer.commit()
    assert other.receive(1) == [b"a"]
    assert other.consumer.committed([IN0])[IN0].offset is None


# Delivery


def test_an_assigned_partition_delivers_nothing_before_start(broker: Broker, open_member: Callable[[], Member]) -> None:
    publish(broker, "in", 0, [b"a", b"b", b"c"])
    consumer = open_member().consumer
    assigned: list[TopicPartition] = []

    def all_assigned() -> bool:
        assert consumer.poll(10, 50) == []
        assigned.extend(consumer.take_assigned())
        return len(assigned) == 4

    await_condition(all_assigned, "assignment")
    assert consumer.poll(10, 300) == []
    consumer.start({tp: 1 if tp == IN0 else None for tp in assigned})
    assert Member(consumer).receive(2) == [b"b", b"c"]


def test_poll_returns_at_most_what_was_asked_for_and_loses_nothing(
    broker: Broker, open_member: Callable[[], Member]
) -> None:
    for partition in range(4):
        publish(broker, "in", partition, [b"%d" % i for i in range(5)])
    member = open_member()
    await_ownership([member], lambda: len(member.owned) == 4)
    seen = [value for block in member.received for value in block.values]

    def all_seen() -> bool:
        blocks = member.consumer.poll(3, 50)
        assert sum(map(len, blocks)) <= 3
        seen.extend(values_of(blocks))
        return len(seen) >= 20

    await_condition(all_seen, "20 records")
    assert sorted(filter(None, seen)) == sorted([b"%d" % i for i in range(5)] * 4)


def test_blocks_are_runs_of_one_partition_with_rising_offsets(
    broker: Broker, open_member: Callable[[], Member]
) -> None:
    for partition in range(4):
        publish(broker, "in", partition, [b"%d" % i for i in range(50)])
    member = open_member()
    await_ownership([member], lambda: sum(map(len, member.received)) == 200)
    for block in member.received:
        assert list(block.offsets) == sorted(set(block.offsets))
        assert len(block.keys) == len(block.values) == len(block.timestamps_ms) == len(block.offsets) == len(block)
    for partition in range(4):
        own = [block for block in member.received if block.partition == partition]
        assert values_of(own) == [b"%d" % i for i in range(50)]


def test_rewind_delivers_again_and_ignores_what_is_not_owned(broker: Broker, open_member: Callable[[], Member]) -> None:
    publish(broker, "in", 0, [b"a", b"b", b"c"])
    member = open_member()
    assert member.receive(3) == [b"a", b"b", b"c"]
    member.consumer.rewind({IN0: 1, TopicPartition("elsewhere", 0): 0})
    assert member.receive(2) == [b"b", b"c"]
    member.consumer.rewind({IN0: None})
    assert member.receive(3) == [b"a", b"b", b"c"]


def test_a_backlog_is_delivered_in_order_whatever_is_asked_for_and_rewound(
    broker: Broker, open_member: Callable[[], Member]
) -> None:
    count = 6_000
    for partition in range(4):
        publish(broker, "in", partition, [b"%d" % number for number in range(count)])
    member = open_member()
    await_ownership([member], lambda: len(member.owned) == 4)
    seen = {
        tp: [value for block in member.received if block.partition == tp.partition for value in block.values]
        for tp in member.owned
    }
    sizes = cycle([9_000, 7, 5_500, 20_000, 1])
    rewinds = iter([IN0, TopicPartition("in", 3), IN0])

    def all_seen() -> bool:
        records_max = next(sizes)
        blocks = member.consumer.poll(records_max, 50)
        assert sum(map(len, blocks)) <= records_max
        for block in blocks:
            seen[TopicPartition("in", block.partition)] += block.values
        if any(len(block) > 100 for block in blocks) and (again := next(rewinds, None)):
            # What was read ahead of it is not what comes now.
            member.consumer.rewind({again: offset_of[again, len(seen[again]) // 2]})
            del seen[again][len(seen[again]) // 2 :]
        return sum(map(len, seen.values())) == 4 * count

    offset_of = {
        (TopicPartition("in", partition), row): offset
        for partition in range(4)
        for row, offset in enumerate(each for block in broker.log().read("in", partition) for each in block.offsets)
    }
    await_condition(all_seen, "the backlog")
    assert list(seen.values()) == [[b"%d" % number for number in range(count)]] * 4
    assert next(rewinds, None) is None


def test_everything_about_a_record_survives(
    broker: Broker, clients: Clients, open_member: Callable[[], Member]
) -> None:
    keys = [b"k", None, b""]
    values = [b"v", b"", None]
    times = [T0_MS, T0_MS - 5, T0_MS + 7]
    headers = [[("ce_id", b"1"), ("ce_id", b"\x00\xff")], None, [("empty", b"")]]
    commit(clients.producer(), OutBlock("in", 0, keys, values, times, headers))
    member = open_member()
    (block,) = member.next_blocks()
    for read in (block, *broker.log().read("in", 0)):
        assert (list(read.keys), list(read.values), list(read.timestamps_ms)) == (keys, values, times)
        assert read.headers is not None
        assert [given or None for given in read.headers] == headers


def test_runs_without_headers_say_so(broker: Broker) -> None:
    publish(broker, "in", 0, [b"a"])
    assert [block.headers for block in broker.log().read("in", 0)] == [None]


def test_a_record_of_ten_megabytes_passes(broker: Broker, clients: Clients) -> None:
    broker.create_topics([TopicSpec("large", 1, {"max.message.bytes": "17825792", "retention.ms": "-1"})])
    large = bytes(range(256)) * (10 * 4096)
    commit(clients.producer(), OutBlock("large", 0, [b"k"], [large], [T0_MS]))
    assert read_values(broker, "large") == [large]


def test_plain_producers_place_keys_by_murmur2_and_report_delivery(broker: Broker) -> None:
    keys = [f"prediction-{i}".encode() for i in range(60)]
    reports: list[str | None] = []
    producer = broker.producer()
    for key in keys:
        producer.send("in", key, b"v", timestamp_ms=T0_MS, headers=[("h", b"1")], on_delivery=reports.append)
    assert producer.flush(30_000) == 0
    producer.close()
    producer.close()
    assert reports == [None] * 60
    log = broker.log()
    for partition in range(4):
        placed = [key for block in log.read("in", partition) for key in block.keys]
        assert placed == [key for key in keys if partition_for(key, 4) == partition]


def test_lag_counts_down_to_zero(broker: Broker, open_member: Callable[[], Member]) -> None:
    publish(broker, "in", 0, [b"%d" % i for i in range(10)])
    member = open_member()
    member.receive(10)
    await_condition(lambda: not member.step() and member.consumer.lag() == 0, "no lag")
    publish(broker, "in", 0, [b"more"])
    await_condition(lambda: bool(member.step()) and member.consumer.lag() == 0, "no lag")


# Static consumers


def test_a_static_consumer_owns_everything_and_resumes_where_it_committed(broker: Broker, clients: Clients) -> None:
    for partition in range(4):
        publish(broker, "in", partition, [b"%d-a" % partition, b"%d-b" % partition])
    first, producer = clients.static("in", "other"), clients.producer()
    await_ownership([first], lambda: sum(map(len, first.received)) == 8)
    assert first.owned == {TopicPartition(topic, p) for topic in ("in", "other") for p in range(4)}
    producer.begin()
    producer.send_offsets(
        {TopicPartition("in", p): Committed(1, f"m{p}") for p in range(4)}, first.consumer.group_metadata()
    )
    producer.commit()
    first.consumer.close()
    second = clients.static("in", "other")
    await_ownership([second], lambda: sum(map(len, second.received)) == 4)
    assert sorted(filter(None, values_of(second.received))) == [b"%d-b" % p for p in range(4)]
    assert second.consumer.committed([IN0]) == {IN0: Committed(1, "m0")}


def test_a_static_consumer_delivers_the_same_where_librdkafka_cannot_be_called(
    broker: Broker, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rheostat.streams.engine.kafka_native", None)
    commit(clients.producer(), OutBlock("in", 0, [b"k", None], [b"v", None], [T0_MS, T0_MS + 1]))
    (block,) = clients.static().next_blocks()
    assert (list(block.keys), list(block.values)) == ([b"k", None], [b"v", None])
    assert list(block.timestamps_ms) == [T0_MS, T0_MS + 1]


# Reading without a group


def test_log_reads_between_bounds(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    for number in range(4):
        commit(
            producer,
            OutBlock("out", 0, [None] * 2, [b"%d" % (2 * number), b"%d" % (2 * number + 1)], [T0_MS + number] * 2),
        )
    log = broker.log()
    blocks = list(log.read("out", 0))
    offsets = [offset for block in blocks for offset in block.offsets]
    assert values_of(blocks) == [b"%d" % i for i in range(8)]
    assert values_of(log.read("out", 0, start_offset=offsets[3])) == [b"%d" % i for i in range(3, 8)]
    assert values_of(log.read("out", 0, end_offset=offsets[3])) == [b"0", b"1", b"2"]
    assert values_of(log.read("out", 0, start_offset=offsets[2], end_offset=offsets[5])) == [b"2", b"3", b"4"]
    assert values_of(log.read("out", 0, since_ms=T0_MS + 2)) == [b"4", b"5", b"6", b"7"]
    assert values_of(log.read("out", 0, since_ms=T0_MS + 4)) == []
    assert values_of(log.read("out", 0, start_offset=offsets[-1] + 100)) == []
    assert values_of(log.read("out", 0, end_offset=offsets[-1] + 100)) == [b"%d" % i for i in range(8)]
    assert values_of(log.read("out", 1)) == []


def test_log_reads_values_and_times_packed_as_it_reads_blocks(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    for number in range(4):
        values = [b"", b"%d" % number * 300 * number, None]
        commit(producer, OutBlock("out", 0, [b"key"] * 3, values, [T0_MS + number, T0_MS + number, T0_MS]))
    producer.begin()
    producer.write(out_block("out", 0, [b"dropped"] * 5))
    producer.abort()
    log = broker.log()
    for since_ms in (None, T0_MS, T0_MS + 2, T0_MS + 4):
        expected = [
            (value or b"", time)
            for block in log.read("out", 0, since_ms=since_ms)
            for value, time in zip(block.values, block.timestamps_ms, strict=True)
        ]
        runs = list(log.read_packed("out", 0, since_ms=since_ms))
        assert [pair for run in runs for pair in zip(run.values(), run.timestamps_ms, strict=True)] == expected
        assert all(len(run) for run in runs)
    assert list(log.read_packed("out", 1)) == []


def test_a_packed_read_goes_by_blocks_where_librdkafka_cannot_be_called(
    broker: Broker, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rheostat.streams.engine.kafka_packed", None)
    commit(clients.producer(), OutBlock("out", 0, [None] * 3, [b"a", None, b"c"], [T0_MS, T0_MS + 1, T0_MS + 2]))
    runs = list(broker.log().read_packed("out", 0, since_ms=T0_MS + 1))
    assert [value for run in runs for value in run.values()] == [b"", b"c"]


def test_a_packed_read_stops_where_the_log_ended_when_it_was_asked(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    commit(producer, out_block("out", 0, [b"before"]))
    reading = broker.log().read_packed("out", 0)
    commit(producer, out_block("out", 0, [b"after"]))
    assert [value for run in reading for value in run.values()] == [b"before"]


def test_a_packed_read_waits_until_an_open_transaction_has_ended(broker: Broker, clients: Clients) -> None:
    producer = clients.producer("other")
    commit(producer, out_block("out", 0, [b"before"]))
    producer.begin()
    producer.write(out_block("out", 0, [b"open"]))
    await_condition(lambda: has_reached_the_log(broker, "out"), "the open transaction's record")
    reading = broker.log().read_packed("out", 0)
    assert next(reading).values() == [b"before"]
    producer.abort()
    assert list(reading) == []


def test_log_stops_where_the_log_ended_when_it_was_asked(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    commit(producer, out_block("out", 0, [b"before"]))
    reading = broker.log().read("out", 0)
    commit(producer, out_block("out", 0, [b"after"]))
    assert values_of(reading) == [b"before"]


def test_log_reads_to_the_end_when_the_last_transaction_was_aborted(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    commit(producer, out_block("out", 0, [b"kept"]))
    producer.begin()
    producer.write(out_block("out", 0, [b"dropped"] * 5))
    producer.abort()
    assert read_values(broker, "out") == [b"kept"]


def test_a_tailer_knows_when_it_has_caught_up(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    commit(producer, out_block("out", 0, [b"a", b"b"]), out_block("out", 1, [b"c"]))
    producer.begin()
    producer.write(out_block("out", 2, [b"dropped"]))
    producer.abort()
    tailer = clients.tailer()
    assert not tailer.caught_up()
    seen: list[bytes | None] = []

    def caught_up() -> bool:
        seen.extend(values_of(tailer.poll(1, 50)))
        return tailer.caught_up()

    await_condition(caught_up, "caught up")
    assert sorted(filter(None, seen)) == [b"a", b"b", b"c"]
    commit(producer, out_block("out", 3, [b"d"]))
    assert tail(tailer, 1) == [b"d"]


def test_a_tailer_from_the_end_returns_only_what_comes(broker: Broker, clients: Clients) -> None:
    producer = clients.producer()
    commit(producer, out_block("out", 0, [b"old"]))
    tailer = clients.tailer(from_beginning=False)
    assert tailer.caught_up()
    commit(producer, out_block("out", 0, [b"new"]))
    assert tail(tailer, 1) == [b"new"]


def test_an_empty_topic_is_caught_up_at_once(clients: Clients) -> None:
    assert clients.tailer().caught_up()


def test_closing_twice_is_harmless(clients: Clients) -> None:
    for each in (clients.member().consumer, clients.static().consumer, clients.producer(), clients.tailer()):
        each.close()
        each.close()
