"""Reads a partition at librdkafka's own speed, by its C interface: no Python object is made of any record.

confluent-kafka makes one of each message and one of each of its parts, which takes several times as long as librdkafka
takes to fetch and unpack it. Here the same library, the one that confluent-kafka has loaded, is called directly, and
compiled loops take values and times out of its messages. What is relied on is in its public header, rdkafka.h: the
functions named below and the layout of `rd_kafka_message_t`.

Importing this raises ImportError where that library cannot be reached (it may be linked with its symbols hidden) or
numba is missing: read blocks then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from confluent_kafka import KafkaError, cimpl
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, compiled
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.engine.kafka_messages import Deadline
from rheostat.streams.engine.packed import Bytes, Longs, Packed
from rheostat.streams.errors import ConfigError, Retryable

Pointers = NDArray[np.uintp]

_CONSUMER = 1
"""RD_KAFKA_CONSUMER of rd_kafka_type_t."""

_READ_RECORDS = 5_000
_SLICE_MS = 100
_ERROR_BYTES = 512

_MESSAGE = np.dtype(
    [
        ("error", np.int32),
        ("topic", np.uintp),
        ("partition", np.int32),
        ("payload", np.uintp),
        ("length", np.uintp),
        ("key", np.uintp),
        ("key_length", np.uintp),
        ("offset", np.int64),
        ("private", np.uintp),
    ],
    align=True,
)
"""rd_kafka_message_t."""

_BYTES, _WORDS = _MESSAGE.itemsize, _MESSAGE.itemsize // 8

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "conf_new": (_POINTER, ()),
    "conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t)),
    "new": (_POINTER, (_INT, _POINTER, _TEXT, ctypes.c_size_t)),
    "destroy": (None, (_POINTER,)),
    "poll_set_consumer": (_INT, (_POINTER,)),
    "consumer_close": (_INT, (_POINTER,)),
    "topic_partition_list_new": (_POINTER, (_INT,)),
    "topic_partition_list_add": (_POINTER, (_POINTER, _TEXT, ctypes.c_int32)),
    "topic_partition_list_set_offset": (_INT, (_POINTER, _TEXT, ctypes.c_int32, ctypes.c_int64)),
    "topic_partition_list_destroy": (None, (_POINTER,)),
    "assign": (_INT, (_POINTER, _POINTER)),
    "queue_get_consumer": (_POINTER, (_POINTER,)),
    "queue_destroy": (None, (_POINTER,)),
    "consume_batch_queue": (ctypes.c_ssize_t, (_POINTER, _INT, _POINTER, ctypes.c_size_t)),
}
_CALLED_COMPILED = ("rd_kafka_message_timestamp", "rd_kafka_message_destroy")


def _bound() -> dict[str, Any]:
    """Return the functions of the library that confluent-kafka is linked with, and name them to compiled code."""
    library = ctypes.CDLL(cimpl.__file__)
    try:
        functions = {name: getattr(library, f"rd_kafka_{name}") for name in _FUNCTIONS}
        for name in _CALLED_COMPILED:
            llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    except AttributeError as error:
        raise ImportError(f"confluent-kafka does not show librdkafka's functions: {error}") from error
    for name, (result, arguments) in _FUNCTIONS.items():
        functions[name].restype, functions[name].argtypes = result, arguments
    return functions


_C = _bound()
# Named by C's linker names; compiled code is kept on disk, and finds them anew in each process.
_copy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))
_timestamp_of: Any = types.ExternalFunction("rd_kafka_message_timestamp", types.int64(types.uintp, types.uintp))
_destroy: Any = types.ExternalFunction("rd_kafka_message_destroy", types.void(types.uintp))


def packed_until(
    conf: Mapping[str, object], tp: TopicPartition, start: int, end: int, stall_ms: int
) -> Iterator[Packed]:
    """Yield the records of a partition from `start` until everything before `end` was delivered.

    conf: librdkafka's settings, with enable.partition.eof; `tp` has the topic's full name. Raises Retryable when
    nothing comes for `stall_ms`, and what `translate` makes of other errors.
    """
    with _queue(conf, tp, start) as queue:
        stall = Deadline(stall_ms)
        while stall.left_ms():
            taken = _taken(queue)
            if len(taken.offsets):
                stall = Deadline(stall_ms)
                wanted = int(np.searchsorted(taken.offsets, end))
                if wanted:
                    yield taken.records.rows(0, wanted)
            if taken.reached >= end:
                return
    raise Retryable(f"read: nothing for {stall_ms / 1000:.0f} s before offset {end}: a transaction stays open")


class _Taken(NamedTuple):
    """Records with their offsets, and up to where the partition is known to have been delivered."""

    records: Packed
    offsets: Longs
    reached: int


def _taken(queue: int) -> _Taken:
    """Take what is there at once; if nothing is, wait a moment for the first and take what came with it."""
    pointers = np.empty(_READ_RECORDS, np.uintp)
    count = _consume(queue, 0, pointers)
    if not count and _consume(queue, _SLICE_MS, pointers[:1]):
        count = 1 + _consume(queue, 0, pointers[1:])
    messages = np.empty(count, _MESSAGE)
    _look(pointers, messages.view(np.int64))
    good = messages["error"] == 0
    ends = np.cumsum(messages["length"][good].astype(np.int64))
    records = Packed(np.empty(int(ends[-1]) if len(ends) else 0, np.uint8), ends, np.empty(len(ends), np.int64))
    _take(pointers, messages["payload"].copy(), good, ends, records.data, records.timestamps_ms)
    offsets = messages["offset"][good]
    reached = [int(offsets[-1]) + 1] if len(offsets) else []
    for event in messages[~good]:
        error = KafkaError(int(event["error"]))
        if error.code() == KafkaError._PARTITION_EOF:
            reached.append(int(event["offset"]))
        elif not isinstance(translated := translate(error, "read"), Retryable):
            raise translated
    return _Taken(records, offsets, max(reached, default=-1))


def _consume(queue: int, timeout_ms: int, pointers: Pointers) -> int:
    return max(0, int(_C["consume_batch_queue"](queue, timeout_ms, pointers.ctypes.data, len(pointers))))


@contextmanager
def _queue(conf: Mapping[str, object], tp: TopicPartition, start: int) -> Iterator[int]:
    """Open a consumer of one partition and give its queue."""
    client = _client(conf)
    _C["poll_set_consumer"](client)
    topic, positions = tp.topic.encode(), _C["topic_partition_list_new"](1)
    _C["topic_partition_list_add"](positions, topic, tp.partition)
    _C["topic_partition_list_set_offset"](positions, topic, tp.partition, start)
    _C["assign"](client, positions)
    _C["topic_partition_list_destroy"](positions)
    queue = _C["queue_get_consumer"](client)
    try:
        yield queue
    finally:
        _C["queue_destroy"](queue)
        _C["consumer_close"](client)
        _C["destroy"](client)


def _client(conf: Mapping[str, object]) -> int:
    reason = ctypes.create_string_buffer(_ERROR_BYTES)
    made = _C["conf_new"]()
    for name, value in conf.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if _C["conf_set"](made, name.encode(), text.encode(), reason, _ERROR_BYTES):
            raise ConfigError(f"Kafka setting {name}: {reason.value.decode()}")
    client = _C["new"](_CONSUMER, made, reason, _ERROR_BYTES)
    if not client:
        raise ConfigError(f"Kafka settings: {reason.value.decode()}")
    return int(client)


@compiled(types.void(types.uintp[::1], types.int64[::1]))
def _look(pointers: Pointers, messages: Longs) -> None:
    """Copy the messages themselves, not what they point to."""
    for row in range(len(messages) // _WORDS):
        _copy(messages[_WORDS * row :].ctypes.data, pointers[row], _BYTES)


@compiled(types.void(types.uintp[::1], types.uintp[::1], types.boolean[::1], LONGS, types.uint8[::1], types.int64[::1]))
def _take(
    pointers: Pointers, payloads: Pointers, good: NDArray[np.bool_], ends: Longs, data: Bytes, times_ms: Longs
) -> None:
    """Copy the values of the good messages, note their times, and destroy all messages."""
    start, row = 0, 0
    for index in range(len(good)):
        if good[index]:
            _copy(data[start:].ctypes.data, payloads[index], ends[row] - start)
            times_ms[row] = _timestamp_of(pointers[index], 0)
            start = ends[row]
            row += 1
        _destroy(pointers[index])
