"""Producers on Kafka: transactional for stages, plain for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from rheostat.streams.engine.block import Committed, Headers, OutBlock, TopicPartition
from rheostat.streams.engine.broker import DeliveryCallback, GroupMetadata
from rheostat.streams.engine.kafka_errors import attempt, delivery_error, persist, translate
from rheostat.streams.engine.kafka_settings import KafkaSettings
from rheostat.streams.errors import Abortable, BrokerError, Fatal, Retryable

# Longer than any transaction lives: by then the outcome is known, or the producer is fenced.
_OUTCOME_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_REGISTRATION_TIMEOUT_S = 2.0
_FULL_TRIES = 100


class KafkaTransactionalProducer:
    """Writes blocks and offsets atomically. After an Abortable error only `abort` is accepted."""

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        self._prefix = settings.prefix
        self._producer = ck.Producer(settings.transactional(transactional_id))
        self._open = False
        self._broken = False
        self._refused = False
        self._closed = False
        init = self._producer.init_transactions
        persist(lambda: init(_CALL_TIMEOUT_S), f"register {transactional_id}", _OUTCOME_TIMEOUT_S)

    def begin(self) -> None:
        """Open a transaction."""
        attempt(self._producer.begin_transaction, "begin")
        self._open = True

    def write(self, block: OutBlock) -> None:
        """Add records to the open transaction."""
        self._require_open("write")
        produce = self._producer.produce
        topic, partition = self._prefix + block.topic, block.partition
        try:
            for value, key, timestamp_ms, headers in zip(
                block.values, block.keys, block.timestamps_ms, block.headers or [None] * len(block), strict=True
            ):
                try:
                    # By position, with no callback under either of its names. Few records of a block have headers.
                    if headers:
                        produce(topic, value, key, partition, None, None, timestamp_ms, list(headers))
                    else:
                        produce(topic, value, key, partition, None, None, timestamp_ms)
                except BufferError:
                    own = list(headers or ())
                    self._produce_when_free(topic, value, key, partition, None, None, timestamp_ms, own)
        except KafkaException as error:
            # Refused before it was queued (unknown partition, too large): librdkafka would commit the rest.
            translated = translate(error.args[0], f"write to {block.topic}[{partition}]")
            if error.args[0].fatal():
                raise translated from error
            self._broken = True
            raise Abortable(str(translated)) from error
        except Retryable as full:
            # Half a block is queued: writing it again would double that half.
            self._broken = True
            raise Abortable(str(full)) from full

    def send_offsets(self, positions: Mapping[TopicPartition, Committed], group: GroupMetadata) -> None:
        """Add consumed positions (next offset to read, with metadata) to the open transaction, in one request."""
        self._require_open("send_offsets")
        wire = [
            ck.TopicPartition(self._prefix + tp.topic, tp.partition, at.offset, metadata=at.metadata)
            for tp, at in positions.items()
            if at.offset is not None
        ]
        send: Callable[..., None] = self._producer.send_offsets_to_transaction
        self._settle(lambda: send(wire, group, _CALL_TIMEOUT_S), "send_offsets")

    def commit(self) -> None:
        """Make all of it visible at once; made again while the outcome is unknown."""
        self._require_open("commit")
        commit = self._producer.commit_transaction
        self._settle(lambda: commit(_CALL_TIMEOUT_S), "commit")
        self._open = False

    def abort(self) -> None:
        """Drop all of it; without an open transaction nothing happens."""
        if not self._open:
            return
        self._await_registration()
        abort = self._producer.abort_transaction
        persist(lambda: abort(_CALL_TIMEOUT_S), "abort", _OUTCOME_TIMEOUT_S)
        self._open = self._broken = self._refused = False

    def close(self) -> None:
        """Release everything; an open transaction is aborted if the broker answers. Idempotent."""
        if self._closed:
            return
        self._closed = True
        # What cannot be aborted now is aborted by the broker, or by the next producer of this id. A producer that was
        # fenced says so at every call, the binding at times by SystemError.
        with suppress(BrokerError, SystemError):
            if self._open:
                self._await_registration()
                attempt(lambda: self._producer.abort_transaction(2.0), "abort")
        with suppress(KafkaException, SystemError):
            self._producer.purge()
            self._producer.close()

    def _settle(self, call: Callable[[], None], doing: str) -> None:
        """Make one of the calls after which librdkafka may refuse everything but an abort."""
        try:
            persist(call, doing, _OUTCOME_TIMEOUT_S)
        except Abortable:
            self._broken = self._refused = True
            raise

    def _await_registration(self) -> None:
        """Wait until the coordinator knows of the partitions written to, unless librdkafka sends nothing any more.

        An abort that overtakes their registration is answered by a fatal INVALID_TXN_STATE: to the coordinator the
        previous transaction is still the last one. Delivery comes after registration.
        """
        if not self._refused:
            attempt(lambda: self._producer.flush(_REGISTRATION_TIMEOUT_S), "flush")

    def _produce_when_free(self, *record: Any) -> None:
        _produce_when_free(self._producer, _FULL_TRIES, *record)

    def _require_open(self, operation: str) -> None:
        if not self._open:
            raise Fatal(f"{operation}: no transaction is open")
        if self._broken:
            raise Abortable(f"{operation}: the transaction failed and must be aborted")


class KafkaProducer:
    """Writes single records outside transactions (idempotent, acknowledged by all replicas)."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._prefix = settings.prefix
        self._producer = ck.Producer(settings.producer())
        self._closed = False

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int,
        headers: Headers | None = None,
        partition: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> None:
        """Queue a record; without `partition` the key's murmur2 hash chooses it. Raises Retryable when full."""
        chosen = -1 if partition is None else partition
        report = None if on_delivery is None else _report_to(on_delivery)
        more = [list(headers)] if headers else []
        try:
            _produce_when_free(
                self._producer, 10, self._prefix + topic, value, key, chosen, report, None, timestamp_ms, *more
            )
        except KafkaException as error:
            raise translate(error.args[0], f"send to {topic}") from error
        # Reports are kept until somebody polls, also those that nobody asked for.
        self._producer.poll(0)

    def flush(self, timeout_ms: int) -> int:
        """Wait for delivery; return how many records are still queued."""
        return int(self._producer.flush(timeout_ms / 1000))

    def close(self) -> None:
        """Flush for a moment and release everything; what is still queued is reported as failed. Idempotent."""
        if not self._closed:
            self._closed = True
            self._producer.flush(5.0)
            # Without it, the binding's close waits for a broker that is away until its messages time out.
            self._producer.purge()
            self._producer.close()


def _produce_when_free(producer: ck.Producer, tries: int, *record: Any) -> None:
    """Queue one record, waiting 0.1 s at a time while the queue is full. By position takes a third of the time."""
    for _ in range(tries):
        try:
            producer.produce(*record)
        except BufferError:
            producer.poll(0.1)
        else:
            return
    raise Retryable("the send queue stays full: the broker does not keep up or does not answer")


def _report_to(on_delivery: DeliveryCallback) -> Callable[[KafkaError | None, object], None]:
    def report(error: KafkaError | None, _message: object) -> None:
        on_delivery(delivery_error(error))

    return report
