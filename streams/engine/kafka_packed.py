"""Reads a partition at librdkafka's own speed: values and times, without a Python object for any record.

Importing this raises ImportError where `kafka_native` cannot be used: read blocks then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import numpy as np
from confluent_kafka import KafkaError

from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.engine.kafka_messages import Deadline
from rheostat.streams.engine.kafka_native import Event, NativeConsumer
from rheostat.streams.engine.packed import Packed
from rheostat.streams.errors import Retryable

_READ_RECORDS = 5_000
_SLICE_MS = 100


def packed_until(
    conf: Mapping[str, object], tp: TopicPartition, start: int, end: int, stall_ms: int
) -> Iterator[Packed]:
    """Yield the records of a partition from `start` until everything before `end` was delivered.

    conf: librdkafka's settings, with enable.partition.eof; `tp` has the topic's full name. Raises Retryable when
    nothing comes for `stall_ms`, and what `translate` makes of other errors.
    """
    with closing(NativeConsumer(conf)) as consumer:
        consumer.assign({tp: start})
        stall = Deadline(stall_ms)
        while stall.left_ms():
            runs, events = consumer.take(_READ_RECORDS, _SLICE_MS)
            for run in runs:
                stall = Deadline(stall_ms)
                if wanted := int(np.searchsorted(run.offsets, end)):
                    yield Packed(run.values.data, run.values.ends, run.timestamps_ms).rows(0, wanted)
            if any(run.offsets[-1] + 1 >= end for run in runs) or _reached(events) >= end:
                return
    raise Retryable(f"read: nothing for {stall_ms / 1000:.0f} s before offset {end}: a transaction stays open")


def _reached(events: list[Event]) -> int:
    """Return up to where the partition is known to be empty, -1 if that is not known; raise the first true error."""
    reached = -1
    for event in events:
        if event.error.code() == KafkaError._PARTITION_EOF:
            reached = max(reached, event.offset)
        elif not isinstance(translated := translate(event.error, "read"), Retryable):
            raise translated
    return reached
