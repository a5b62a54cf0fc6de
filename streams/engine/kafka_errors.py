"""Kafka's errors, told apart by what the caller can do about them, and calls made again while that helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from rheostat.streams.engine.broker import Refused
from rheostat.streams.errors import Abortable, BrokerError, Fatal, Fenced, Retryable

T = TypeVar("T")

_FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNRELEASED_INSTANCE_ID,
    }
)
# librdkafka sets its retriable flag on transactional calls only. These pass by themselves: nobody answers, a broker
# or coordinator moves, metadata of a new topic has not reached every broker.
_PASSING_CODES = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError._NOENT,  # "No leaders found" for a query of offsets: the broker was too busy to say who leads
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    }
)

_RECORD_CODES = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP})


def delivery_error(error: KafkaError | None) -> str | None:
    """Return what a delivery report says: None, or the error's text, `Refused` if it is the record's own fault.

    A broker refuses a batch for one record in it: the innocent ones are told the same, and pass when sent alone.
    """
    if error is None:
        return None
    return Refused(error.str()) if error.code() in _RECORD_CODES else error.str()


def translate(error: KafkaError, doing: str) -> BrokerError:
    """Return our error for one of librdkafka's, by its flags in their order of severity."""
    text = f"{doing}: {error.str()} ({error.name()})"
    if error.fatal():
        return Fenced(text) if error.code() in _FENCED_CODES else Fatal(text)
    if error.txn_requires_abort():
        return Abortable(text)
    if error.retriable() or error.code() in _PASSING_CODES:
        return Retryable(text)
    return Fenced(text) if error.code() in _FENCED_CODES else Fatal(text)


def attempt(call: Callable[[], T], doing: str) -> T:
    """Make one call; raise our errors instead of librdkafka's."""
    try:
        return call()
    except KafkaException as error:
        raise translate(error.args[0], doing) from error


def persist(call: Callable[[], T], doing: str, timeout_s: float) -> T:
    """Make the same call again while it is retriable; Retryable after `timeout_s`.

    librdkafka resumes a timed-out transaction call where it was: the same call is the only right thing to do.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return attempt(call, doing)
        except Retryable:
            if time.monotonic() >= deadline:
                raise
            # Most calls have waited inside; this one keeps an immediate refusal from spinning.
            time.sleep(0.01)
