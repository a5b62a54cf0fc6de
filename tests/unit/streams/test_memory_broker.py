"""The in-memory broker beyond the common contract: injected faults, dead members, time-outs, retention."""

from __future__ import annotations

import threading

import pytest

from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.memory_group import range_assignment
from rheostat.streams.errors import Abortable, Fenced, Retryable
from tests.support.brokers import Member, commit, out_block, publish, read_values, values_of

IN0 = TopicPartition("in", 0)


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker(ManualClock(), wait_ms=20)
    made.create_topics([TopicSpec("in", 2), TopicSpec("out", 2)])
    return made


def test_a_fault_before_an_operation_prevents_it_and_one_after_does_not(broker: MemoryBroker) -> None:
    producer = broker.transactional_producer("x")
    broker.fail_next("commit", Retryable("before"))
    producer.begin()
    producer.write(out_block("out", 0, [b"a"]))
    with pytest.raises(Retryable, match="before"):
        producer.commit()
    producer.commit()
    broker.fail_next("commit", Abortable("after"), after=True)
    producer.begin()
    producer.write(out_block("out", 0, [b"b"]))
    with pytest.raises(Abortable, match="after"):
        producer.commit()
    assert read_values(broker, "out") == [b"a", b"b"]


def test_after_an_abortable_fault_only_abort_helps(broker: MemoryBroker) -> None:
    producer = broker.transactional_producer("x")
    broker.fail_next("write", Abortable("lost"))
    producer.begin()
    with pytest.raises(Abortable, match="lost"):
        producer.write(out_block("out", 0, [b"a"]))
    with pytest.raises(Abortable, match="must be aborted"):
        producer.commit()
    producer.abort()
    commit(producer, out_block("out", 0, [b"b"]))
    assert read_values(broker, "out") == [b"b"]


def test_an_expired_member_loses_everything_and_joins_anew(broker: MemoryBroker) -> None:
    dead, survivor = Member(broker.group_consumer("g", ["in"])), Member(broker.group_consumer("g", ["in"]))
    for member in (dead, survivor, dead):
        member.step(0)
    stale = dead.consumer.group_metadata()
    broker.expire(dead.consumer)
    survivor.step(0)
    assert survivor.owned == {IN0, TopicPartition("in", 1)}
    producer = broker.transactional_producer("x")
    producer.begin()
    with pytest.raises(Abortable, match="does not know"):
        producer.send_offsets({IN0: Committed(1, "")}, stale)
    producer.abort()
    for member in (dead, dead, survivor, dead):
        member.step(0)
    assert len(dead.owned) == len(survivor.owned) == 1
    assert dead.owned != survivor.owned


def test_a_partition_moves_only_after_its_owner_let_go(broker: MemoryBroker) -> None:
    first = Member(broker.group_consumer("g", ["in"]))
    first.step(0)
    second = Member(broker.group_consumer("g", ["in"]))
    second.step(0)
    assert second.owned == set()
    first.step(0)
    second.step(0)
    assert (first.owned, second.owned) == ({IN0}, {TopicPartition("in", 1)})


def test_a_timed_out_transaction_is_aborted_and_its_producer_fenced(broker: MemoryBroker) -> None:
    producer = broker.transactional_producer("x")
    producer.begin()
    producer.write(out_block("out", 0, [b"slow"]))
    publish(broker, "out", 0, [b"next"])
    with pytest.raises(Retryable, match="stays open"):
        read_values(broker, "out")
    broker.time_out("x")
    assert read_values(broker, "out") == [b"next"]
    with pytest.raises(Fenced):
        producer.commit()


def test_a_non_member_may_commit_only_while_the_group_is_empty(broker: MemoryBroker) -> None:
    static, producer = broker.static_consumer("g", ["in"]), broker.transactional_producer("x")
    member = broker.group_consumer("g", ["in"])
    producer.begin()
    with pytest.raises(Abortable, match="has members"):
        producer.send_offsets({IN0: Committed(1, "")}, static.group_metadata())
    producer.abort()
    member.close()
    producer.begin()
    producer.send_offsets({IN0: Committed(1, "")}, static.group_metadata())
    producer.commit()
    assert static.committed([IN0]) == {IN0: Committed(1, "")}


def test_deleted_records_are_skipped_by_readers(broker: MemoryBroker) -> None:
    publish(broker, "in", 0, [b"a", b"b", b"c"])
    broker.delete_before("in", 0, 2)
    assert read_values(broker, "in") == [b"c"]
    member = Member(broker.static_consumer("g", ["in"]))
    member.step(0)
    assert values_of(member.step(0)) == [b"c"]


def test_poll_wakes_up_when_a_record_comes(broker: MemoryBroker) -> None:
    member = Member(broker.static_consumer("g", ["in"]))
    member.step(0)
    writer = threading.Timer(0.01, publish, (broker, "in", 0, [b"a"]))
    writer.start()
    assert values_of(member.step(30_000)) == [b"a"]
    writer.join()


def test_range_gives_the_same_numbers_of_equal_topics_and_the_rest_to_the_first() -> None:
    shares = range_assignment([("m1", ["a", "b"]), ("m2", ["a", "b"])], {"a": 5, "b": 5}.__getitem__)
    assert {tp.partition for tp in shares["m1"] if tp.topic == "a"} == {0, 1, 2}
    assert {tp.partition for tp in shares["m1"] if tp.topic == "b"} == {0, 1, 2}
    assert {tp.partition for tp in shares["m2"] if tp.topic == "b"} == {3, 4}
