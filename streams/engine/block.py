"""Blocks: runs of records of one topic partition, as they travel between broker and stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Headers = list[tuple[str, bytes]]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Place(NamedTuple):
    """Where one record lies; as text `<topic>/<partition>/<offset>`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read a place from text. Raises ValueError."""
        topic, *numbers = text.split("/")
        if len(numbers) != 2 or not topic or not all(each.isascii() and each.isdecimal() for each in numbers):
            raise ValueError(f"{text!r} is no place of a record, which is written topic/partition/offset")
        return cls(topic, int(numbers[0]), int(numbers[1]))


@dataclass(frozen=True, slots=True)
class Block:
    """One contiguous run of a partition's records, still encoded; all sequences have the same length.

    Offsets rise but may have gaps (control records, aborted transactions): never do arithmetic on them.
    `timestamps_ms` are event times. `headers` is None when no record of the run has any.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    headers: Sequence[Headers | None] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset to commit once this block is processed."""
        return self.offsets[-1] + 1


@dataclass(frozen=True, slots=True)
class OutBlock:
    """Records to be written to one partition of one topic, in this order; sequences have the same length."""

    topic: str
    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    headers: Sequence[Headers | None] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed position: the next offset to read (None: nothing committed yet) and its metadata."""

    offset: int | None
    metadata: str
