"""The books of intake: cumulative counts that travel with the committed offsets, read from outside.

For every partition, what was consumed is the sum of `OUTCOMES`, at every commit. Events forwarded to the partition
where they belong are consumed twice, and so are those released from quarantine (`readmitted`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.broker import Broker
from rheostat.streams.intake.counts import FATES

GROUPS = ("rheostat-intake", "rheostat-intake-join")
"""Whose commits carry the books: intake by itself, or in one stage with the join."""

OUTCOMES = FATES
FORWARDED = "forwarded"
READMITTED = "readmitted"
SOURCES = (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED)


@dataclass(frozen=True, slots=True)
class Books:
    """Cumulative counts by partition number, as of each partition's last commit."""

    by_partition: Mapping[int, Mapping[str, int]]

    @property
    def balanced(self) -> bool:
        """Whether what went in equals what came out, for every partition."""
        return all(
            counts["consumed"] == sum(counts[name] for name in OUTCOMES) for counts in self.by_partition.values()
        )

    @property
    def events(self) -> int:
        """How many events came in, each counted once."""
        return self.total("consumed") - self.total(FORWARDED) - self.total(READMITTED)

    def total(self, name: str) -> int:
        """Return one count over all partitions."""
        return sum(counts[name] for counts in self.by_partition.values())


class BooksReader:
    """Reads the counts that intake committed, again and again; close it when done."""

    def __init__(self, broker: Broker) -> None:
        self._consumers = [broker.static_consumer(group, SOURCES) for group in GROUPS]
        log = broker.log()
        self._partitions = [
            TopicPartition(topic, number) for topic in SOURCES for number in range(log.partitions(topic))
        ]

    def read(self) -> Books:
        """Return the books as of now. Raises Retryable while a transaction on the offsets is pending for long."""
        newest: dict[int, dict[str, Any]] = {}
        positions = [each for consumer in self._consumers for each in consumer.committed(self._partitions).items()]
        for at, position in positions:
            if position.metadata:
                facts = json.loads(position.metadata)
                given = facts.get("intake", facts)
                if at.partition not in newest or given["seq"] > newest[at.partition]["seq"]:
                    newest[at.partition] = given
        return Books({number: given["counts"] for number, given in newest.items()})

    def close(self) -> None:
        """Release the connection."""
        for consumer in self._consumers:
            consumer.close()


def read_books(broker: Broker) -> Books:
    """Read the counts once."""
    reader = BooksReader(broker)
    try:
        return reader.read()
    finally:
        reader.close()
