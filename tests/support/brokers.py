"""Short ways to write to and read from any broker in tests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.broker import Broker, StageConsumer, Tailer, TransactionalProducer
from rheostat.streams.engine.kafka import KafkaBroker

DEADLINE_S = 60.0
T0_MS = 1_760_000_000_000


def kafka_broker(bootstrap: str, protocol: Literal["consumer", "classic"] = "consumer") -> KafkaBroker:
    """A broker whose topics, groups and transactional ids nobody else uses."""
    return KafkaBroker(bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}.", protocol=protocol)


def out_block(topic: str, partition: int, values: Sequence[bytes | None]) -> OutBlock:
    """Records whose keys are their values, one millisecond apart."""
    return OutBlock(topic, partition, list(values), list(values), [T0_MS + i for i in range(len(values))])


def publish(broker: Broker, topic: str, partition: int, values: Sequence[bytes | None]) -> None:
    """Write records outside transactions and wait until the broker has them."""
    producer = broker.producer()
    block = out_block(topic, partition, values)
    for key, value, timestamp_ms in zip(block.keys, block.values, block.timestamps_ms, strict=True):
        producer.send(topic, key, value, timestamp_ms=timestamp_ms, partition=partition)
    assert producer.flush(30_000) == 0
    producer.close()


def commit(producer: TransactionalProducer, *blocks: OutBlock) -> None:
    """Write blocks in one transaction."""
    producer.begin()
    for block in blocks:
        producer.write(block)
    producer.commit()


def values_of(blocks: Iterable[Block]) -> list[bytes | None]:
    """All values, in order."""
    return [value for block in blocks for value in block.values]


def read_values(broker: Broker, topic: str, partition: int = 0) -> list[bytes | None]:
    """All committed values of a partition."""
    return values_of(broker.log().read(topic, partition))


def await_condition(condition: Callable[[], bool], what: str) -> None:
    """Call `condition` until it holds; it is expected to wait inside."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"


class Member:
    """A consumer with a record of what it owns; everything assigned is started at its committed offset."""

    def __init__(self, consumer: StageConsumer) -> None:
        self.consumer = consumer
        self.owned: set[TopicPartition] = set()
        self.received: list[Block] = []

    def step(self, timeout_ms: int = 50) -> list[Block]:
        """Poll once, following the assignment."""
        blocks = self.consumer.poll(1_000, timeout_ms)
        self.owned.difference_update(self.consumer.take_revoked())
        assigned = self.consumer.take_assigned()
        self.owned.update(assigned)
        if assigned:
            self.consumer.start({tp: at.offset for tp, at in self.consumer.committed(assigned).items()})
        self.received.extend(blocks)
        return blocks

    def next_blocks(self) -> list[Block]:
        """Poll until there is data."""
        found: list[Block] = []

        def some() -> bool:
            found.extend(self.step())
            return bool(found)

        await_condition(some, "data")
        return found

    def receive(self, count: int) -> list[bytes | None]:
        """Poll until `count` records have come, and return their values."""
        found: list[Block] = []

        def enough() -> bool:
            found.extend(self.step())
            return sum(map(len, found)) >= count

        await_condition(enough, f"{count} records")
        return values_of(found)


def await_ownership(members: Sequence[Member], condition: Callable[[], bool]) -> None:
    """Poll all members in turn until the condition on what they own holds."""

    def reached() -> bool:
        for member in members:
            member.step()
        return condition()

    await_condition(reached, "assignment")


def positions(blocks: Iterable[Block], metadata: str = "") -> dict[TopicPartition, Committed]:
    """What to commit once these blocks are processed."""
    return {TopicPartition(b.topic, b.partition): Committed(b.next_offset, metadata) for b in blocks}


def tail(tailer: Tailer, count: int) -> list[bytes | None]:
    """Poll a tailer until `count` records have come."""
    found: list[Block] = []

    def enough() -> bool:
        found.extend(tailer.poll(1_000, 50))
        return sum(map(len, found)) >= count

    await_condition(enough, f"{count} records")
    return values_of(found)
