"""librdkafka by its C interface: consumes at the library's own speed, without a Python object for any record.

confluent-kafka makes one of each message and one of each of its parts, which takes several times as long as librdkafka
takes to fetch and unpack it. Here the same library, the one that confluent-kafka has loaded, is called directly, and
compiled loops take keys, values and times out of its messages. What is relied on is in its public header, rdkafka.h:
the functions named below and the layout of `rd_kafka_message_t`.

Importing this raises ImportError where that library cannot be reached (it may be linked with its symbols hidden) or
numba is missing: use confluent-kafka's consumers then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from confluent_kafka import KafkaError, cimpl
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, compiled
from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.packed import Bytes, Longs, PackedBytes
from rheostat.streams.engine.packed_headers import PackedHeaders
from rheostat.streams.errors import ConfigError

Pointers = NDArray[np.uintp]

_CONSUMER = 1
"""RD_KAFKA_CONSUMER of rd_kafka_type_t."""

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

_POINTER, _TEXT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_PARTITION, _OFFSET = ctypes.c_int32, ctypes.c_int64
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "conf_new": (_POINTER, ()),
    "conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, _SIZE)),
    "new": (_POINTER, (_INT, _POINTER, _TEXT, _SIZE)),
    "destroy": (None, (_POINTER,)),
    "poll_set_consumer": (_INT, (_POINTER,)),
    "consumer_close": (_INT, (_POINTER,)),
    "topic_partition_list_new": (_POINTER, (_INT,)),
    "topic_partition_list_add": (_POINTER, (_POINTER, _TEXT, _PARTITION)),
    "topic_partition_list_set_offset": (_INT, (_POINTER, _TEXT, _PARTITION, _OFFSET)),
    "topic_partition_list_destroy": (None, (_POINTER,)),
    "incremental_assign": (_POINTER, (_POINTER, _POINTER)),
    "incremental_unassign": (_POINTER, (_POINTER, _POINTER)),
    "error_string": (_TEXT, (_POINTER,)),
    "error_destroy": (None, (_POINTER,)),
    "get_watermark_offsets": (_INT, (_POINTER, _TEXT, _PARTITION, _POINTER, _POINTER)),
    "queue_get_consumer": (_POINTER, (_POINTER,)),
    "queue_destroy": (None, (_POINTER,)),
    "consume_batch_queue": (ctypes.c_ssize_t, (_POINTER, _INT, _POINTER, _SIZE)),
    "topic_name": (_TEXT, (_POINTER,)),
}
_CALLED_COMPILED = (
    *("rd_kafka_message_timestamp", "rd_kafka_message_headers", "rd_kafka_message_destroy"),
    "rd_kafka_header_get_all",
)


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
_headers_of: Any = types.ExternalFunction("rd_kafka_message_headers", types.int32(types.uintp, types.uintp))
_header_at: Any = types.ExternalFunction(
    "rd_kafka_header_get_all", types.int32(types.uintp, types.uintp, types.uintp, types.uintp, types.uintp)
)
_length_of: Any = types.ExternalFunction("strlen", types.uintp(types.uintp))
_destroy: Any = types.ExternalFunction("rd_kafka_message_destroy", types.void(types.uintp))


class Run(NamedTuple):
    """Records of one partition, in order; `at` has the topic's full name, `timestamps_ms` are event times."""

    at: TopicPartition
    offsets: Longs
    keys: PackedBytes
    values: PackedBytes
    timestamps_ms: Longs
    headers: PackedHeaders | None

    def rows(self, first: int, end: int) -> Run:
        """Return some neighbouring records."""
        span = slice(first, end)
        keys, values = self.keys.rows(first, end), self.values.rows(first, end)
        headers = None if self.headers is None else self.headers.rows(first, end)
        return Run(self.at, self.offsets[span], keys, values, self.timestamps_ms[span], headers)


class Event(NamedTuple):
    """What came instead of a record: the end of a partition, or an error. Its offset is -1001 where it has none."""

    error: KafkaError
    at: TopicPartition
    offset: int


class NativeConsumer:
    """Consumes partitions that it is told to; belongs to no group. Used by one thread at a time.

    conf: librdkafka's settings, but for callbacks and "logger": nobody reads what it would print, so only what is
    critical is. Raises ConfigError for a setting it does not take.
    """

    def __init__(self, conf: Mapping[str, object]) -> None:
        made, reason = _C["conf_new"](), ctypes.create_string_buffer(_ERROR_BYTES)
        for name, value in {**conf, "log_level": 2}.items():
            if name == "logger":
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if _C["conf_set"](made, name.encode(), text.encode(), reason, _ERROR_BYTES):
                raise ConfigError(f"Kafka setting {name}: {reason.value.decode()}")
        self._client = _C["new"](_CONSUMER, made, reason, _ERROR_BYTES)
        if not self._client:
            raise ConfigError(f"Kafka settings: {reason.value.decode()}")
        _C["poll_set_consumer"](self._client)
        self._queue = _C["queue_get_consumer"](self._client)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin to consume partitions that are not consumed yet, at these offsets."""
        self._call("incremental_assign", positions)

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop to consume partitions; what was fetched of them and not taken is dropped."""
        self._call("incremental_unassign", dict.fromkeys(partitions, 0))

    def high(self, at: TopicPartition) -> int:
        """Return the high watermark as last heard of; -1 before anything was fetched."""
        low, high = ctypes.c_int64(-1), ctypes.c_int64(-1)
        _C["get_watermark_offsets"](
            self._client, at.topic.encode(), at.partition, ctypes.byref(low), ctypes.byref(high)
        )
        return high.value

    def take(self, records_max: int, timeout_ms: int, gather_ms: int = 0) -> tuple[list[Run], list[Event]]:
        """Return what is there at once; if nothing is, wait for the first and take what came with it.

        gather_ms: how long to wait for what comes right behind the first. One run for each partition; in all at most
        `records_max` records and events.
        """
        pointers = np.empty(records_max, np.uintp)
        count = self._consume(0, pointers)
        if not count and timeout_ms > 0 and self._consume(timeout_ms, pointers[:1]):
            count = 1 + (self._consume(gather_ms, pointers[1:]) if records_max > 1 else 0)
        return _unpacked(pointers[:count])

    def close(self) -> None:
        """Release everything."""
        _C["queue_destroy"](self._queue)
        _C["consumer_close"](self._client)
        _C["destroy"](self._client)

    def _consume(self, timeout_ms: int, pointers: Pointers) -> int:
        return max(0, int(_C["consume_batch_queue"](self._queue, timeout_ms, pointers.ctypes.data, len(pointers))))

    def _call(self, name: str, positions: Mapping[TopicPartition, int]) -> None:
        listed = _C["topic_partition_list_new"](len(positions))
        for at, offset in positions.items():
            _C["topic_partition_list_add"](listed, at.topic.encode(), at.partition)
            _C["topic_partition_list_set_offset"](listed, at.topic.encode(), at.partition, offset)
        error = _C[name](self._client, listed)
        _C["topic_partition_list_destroy"](listed)
        if error:
            text = _C["error_string"](error).decode()
            _C["error_destroy"](error)
            raise ValueError(f"{name} of {', '.join(map(str, positions))}: {text}")


def _unpacked(pointers: Pointers) -> tuple[list[Run], list[Event]]:
    """Return what messages say, a run for each partition, and destroy them."""
    count = len(pointers)
    messages, times_ms, headers = np.empty(count, _MESSAGE), np.empty(count, np.int64), np.zeros(count, np.uintp)
    _look(pointers, messages.view(np.int64), times_ms, headers)
    try:
        good = messages["error"] == 0
        events = [_event(message) for message in messages[~good]]
        return list(_runs(messages, np.flatnonzero(good), times_ms, headers)), events
    finally:
        _destroy_all(pointers)


def _event(message: Any) -> Event:
    topic = _topic(int(message["topic"])) if message["topic"] else ""
    return Event(
        KafkaError(int(message["error"])), TopicPartition(topic, int(message["partition"])), int(message["offset"])
    )


def _topic(pointer: int) -> str:
    name: bytes = _C["topic_name"](pointer)
    return name.decode()


def _runs(messages: NDArray[Any], rows: NDArray[np.intp], times_ms: Longs, headers: Pointers) -> Iterator[Run]:
    """Yield the records of each partition as one run; they may come interleaved."""
    if not len(rows):
        return
    rows = rows[np.lexsort((messages["partition"][rows], messages["topic"][rows]))]
    topics, partitions, offsets = (messages[name][rows] for name in ("topic", "partition", "offset"))
    keys = _packed(messages["key"][rows], messages["key_length"][rows])
    values = _packed(messages["payload"][rows], messages["length"][rows])
    times_ms, headers = times_ms[rows], headers[rows]
    cuts = np.flatnonzero((topics[1:] != topics[:-1]) | (partitions[1:] != partitions[:-1])) + 1
    for first, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
        yield Run(
            TopicPartition(_topic(int(topics[first])), int(partitions[first])),
            offsets[first:end],
            keys.rows(first, end),
            values.rows(first, end),
            times_ms[first:end],
            _headers(headers[first:end]) if headers[first:end].any() else None,
        )


def _packed(parts: Pointers, lengths: NDArray[np.uintp]) -> PackedBytes:
    ends = np.cumsum(lengths, dtype=np.int64)
    data = np.empty(int(ends[-1]), np.uint8)
    _gather(parts, ends, data)
    return PackedBytes(data, ends, parts == 0)


def _headers(pointers: Pointers) -> PackedHeaders:
    size = np.zeros(2, np.int64)
    _measure_headers(pointers, size)
    data, bounds = np.empty(size[1], np.uint8), np.zeros(2 * size[0] + 1, np.int64)
    counts = np.zeros(len(pointers), np.int64)
    _take_headers(pointers, counts, bounds, data)
    return PackedHeaders(data, bounds, counts)


@compiled(types.void(types.uintp[::1], types.int64[::1], types.int64[::1], types.uintp[::1]))
def _look(pointers: Pointers, messages: Longs, times_ms: Longs, headers: Pointers) -> None:
    """Copy the messages themselves, not what they point to, and note their times and where their headers are."""
    for row in range(len(pointers)):
        _copy(messages[_WORDS * row :].ctypes.data, pointers[row], _BYTES)
        times_ms[row] = _timestamp_of(pointers[row], 0)
        _headers_of(pointers[row], headers[row:].ctypes.data)


@compiled(types.void(types.uintp[::1], types.int64[::1]))
def _measure_headers(pointers: Pointers, size: Longs) -> None:
    """Add up how many headers there are, and how many bytes their names and values have."""
    part = np.zeros(3, np.uintp)
    name, value, length = part[0:].ctypes.data, part[1:].ctypes.data, part[2:].ctypes.data
    for pointer in pointers:
        at = 0
        while pointer and not _header_at(pointer, at, name, value, length):
            size[1] += _length_of(part[0]) + part[2]
            at += 1
        size[0] += at


@compiled(types.void(types.uintp[::1], types.int64[::1], types.int64[::1], types.uint8[::1]))
def _take_headers(pointers: Pointers, counts: Longs, bounds: Longs, data: Bytes) -> None:
    """Copy names and values one behind the other, and note where each one ends, and how many a message has."""
    part = np.zeros(3, np.uintp)
    name, value, length = part[0:].ctypes.data, part[1:].ctypes.data, part[2:].ctypes.data
    entry = 0
    for row in range(len(pointers)):
        while pointers[row] and not _header_at(pointers[row], counts[row], name, value, length):
            for pointer, size in ((part[0], _length_of(part[0])), (part[1], part[2])):
                _copy(data[bounds[entry] :].ctypes.data, pointer, size)
                bounds[entry + 1] = bounds[entry] + np.int64(size)
                entry += 1
            counts[row] += 1


@compiled(types.void(types.uintp[::1], LONGS, types.uint8[::1]))
def _gather(parts: Pointers, ends: Longs, data: Bytes) -> None:
    """Copy parts one behind the other."""
    start = 0
    for row in range(len(parts)):
        _copy(data[start:].ctypes.data, parts[row], ends[row] - start)
        start = ends[row]


@compiled(types.void(types.uintp[::1]))
def _destroy_all(pointers: Pointers) -> None:
    for row in range(len(pointers)):
        _destroy(pointers[row])
