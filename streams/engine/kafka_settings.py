"""The librdkafka settings that the guarantees rest on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

logger = logging.getLogger("rheostat.kafka")

Setting = str | int | float | bool
RECORD_BYTES_MAX = 17 * 1024 * 1024
TRANSACTION_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach a cluster. `overrides` go to every client, the other two to consumers or producers only.

    prefix: put before every topic, group and transactional id, to keep pipelines on one cluster apart.
    protocol: "consumer" (KIP-848, Kafka 4 and later) or "classic" (older clusters; eager range).
    instance_id: static membership of group consumers, classic protocol only.
    """

    bootstrap: str
    prefix: str = ""
    protocol: Literal["consumer", "classic"] = "consumer"
    instance_id: str | None = None
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    consumer_overrides: Mapping[str, Setting] = field(default_factory=dict)
    producer_overrides: Mapping[str, Setting] = field(default_factory=dict)

    def common(self) -> dict[str, object]:
        """Return what every client needs."""
        return {
            "bootstrap.servers": self.bootstrap,
            "message.max.bytes": RECORD_BYTES_MAX + 65_536,
            "logger": logger,
            **self.overrides,
        }

    def reader(self, group: str, *, eof: bool) -> dict[str, object]:
        """Return settings for a consumer with explicit assignment; committed() is stable by read_committed.

        fetch.queue.backoff.ms: how long nothing is fetched once enough is queued. librdkafka's default is a second, in
        which the queue runs empty. max.poll.interval.ms: nothing is polled while tasks are opened, and tens of millions
        of records may have to be read for that.
        """
        return {
            **self.common(),
            "group.id": self.prefix + group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": eof,
            "fetch.wait.max.ms": 15,
            "fetch.error.backoff.ms": 20,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 50_000,
            "max.poll.interval.ms": 300_000,
            **self.consumer_overrides,
        }

    def follower(self, group: str, *, eof: bool) -> dict[str, object]:
        """Return settings for a reader of topics that fill by transactions: each commit is delivered at once.

        queued.max.messages.kbytes: how much is fetched ahead, and taken at once. Records of models may have a megabyte.
        """
        ahead = {"fetch.wait.max.ms": 100, "queued.max.messages.kbytes": 16_384}
        return {**self.reader(group, eof=eof), **ahead, **self.consumer_overrides}

    def member(self, group: str, name: str = "") -> dict[str, object]:
        """Return settings for a group member; range co-partitions several topics, the other assignors do not.

        name: its client.id, by which it is found among the members; what is configured for all clients comes first.
        """
        settings = {**self._named(name), **self.reader(group, eof=False)}
        if self.protocol == "consumer":
            return {**settings, "group.protocol": "consumer", "group.remote.assignor": "range"}
        static = {} if self.instance_id is None else {"group.instance.id": self.prefix + self.instance_id}
        classic = {"partition.assignment.strategy": "range", "session.timeout.ms": 6_000}
        return {**classic, **settings, **static}

    def fetcher(self, group: str, name: str = "") -> dict[str, object]:
        """Return settings for the client that fetches for a member of a group.

        Its topics fill all the time, so it makes at most some 65 fetches a second: a broker that answers every few
        records at once spends more on the answers than on the records.
        """
        fewer = {"fetch.min.bytes": 65_536, **self.consumer_overrides}
        return {**self._named(name), **self.reader(group, eof=False), **fewer}

    def _named(self, name: str) -> dict[str, object]:
        return {"client.id": self.prefix + name} if name else {}

    def producer(self) -> dict[str, object]:
        """Return settings for any producer: acknowledged by all replicas, keys placed as Java clients do."""
        return {
            **self.common(),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            **self.producer_overrides,
        }

    def transactional(self, transactional_id: str) -> dict[str, object]:
        """Return settings for a transactional producer.

        retry.backoff.ms: a transaction that follows closely on another is refused until the markers of the first
        are written; librdkafka's default back-off would make that 100 ms.
        """
        return {
            "retry.backoff.ms": 5,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            # What became of the records is what became of their transaction.
            "delivery.report.only.error": True,
            **self.producer(),
            "transactional.id": self.prefix + transactional_id,
        }
