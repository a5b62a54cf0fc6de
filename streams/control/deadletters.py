"""Dead letters for people: find them, see what is wrong, send them again after a fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.control.once import Act, Done, Order, noted, perform
from rheostat.streams.engine.block import OutBlock, Place
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import ConfigError

KIND = "deadletter"
REPLAY_HEADER = "rheostat-replay"
"""On a record sent again: the place of its dead letter."""

_ORIGINS = (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.PREDICTIONS)

FIELDS = ("field", "error", "origin_topic", "origin_partition", "key")
"""What letters can be chosen by."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, see the schema, and where it lies."""

    place: Place
    record: dict[str, Any]

    def text(self, name: str) -> str:
        """Return one of `FIELDS` as text."""
        value = self.record[name]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class Condition:
    """A letter is chosen when the field is (`=`) or contains (`~`) the text."""

    field: str
    contains: bool
    text: str

    @classmethod
    def parse(cls, given: str) -> Condition:
        """Read `field=text` or `field~text`. Raises ConfigError."""
        at = min((place for place in map(given.find, "=~") if place > 0), default=-1)
        if at < 0 or given[:at] not in FIELDS:
            known = ", ".join(FIELDS)
            raise ConfigError(f"--where {given!r}: write FIELD=TEXT or FIELD~TEXT, with FIELD one of {known}")
        return cls(given[:at], given[at] == "~", given[at + 1 :])

    def holds(self, letter: Letter) -> bool:
        """Whether the letter is chosen."""
        found = letter.text(self.field)
        return self.text in found if self.contains else self.text == found


def letters(log: Log, since_ms: int, where: Sequence[Condition] = ()) -> Iterator[Letter]:
    """Yield the letters written since then that all conditions choose, partition by partition."""
    for partition in range(log.partitions(catalogue.DEADLETTER)):
        for block in log.read(catalogue.DEADLETTER, partition, since_ms=since_ms):
            for offset, value in zip(block.offsets, block.values, strict=True):
                place = Place(catalogue.DEADLETTER, partition, offset)
                letter = Letter(place, codec.decode_record(catalogue.DEADLETTER, value))
                if all(condition.holds(letter) for condition in where):
                    yield letter


def letter_at(log: Log, place: Place) -> Letter:
    """Return one letter. Raises ConfigError when there is none."""
    if place.topic == catalogue.DEADLETTER and place.partition < log.partitions(place.topic):
        for block in log.read(place.topic, place.partition, start_offset=place.offset, end_offset=place.offset + 1):
            for offset, value in zip(block.offsets, block.values, strict=True):
                if offset == place.offset:
                    return Letter(place, codec.decode_record(catalogue.DEADLETTER, value))
    raise ConfigError(f"{place}: there is no dead letter; see: rheostat deadletter list")


def replayed(log: Log, since_ms: int) -> set[str]:
    """Return the places of the letters sent again since then."""
    return set(noted(log, KIND, since_ms))


def replay(broker: Broker, found: Iterable[Letter], actor: str, reason: str, since_ms: int, now_ms: int) -> Done:
    """Send the records of letters written since then to their topics again, each once; see `once.perform`.

    They come as they were, key, bytes and headers, with one header more.
    """
    log = broker.log()
    partitions = {topic: log.partitions(topic) for topic in _ORIGINS}
    # What is still wrong comes back as a new letter while the old ones are being read; it is not part of the order.
    meant = (letter for letter in found if letter.record["failed_at"] <= now_ms)
    acts = (Act(letter.place, [_again(letter, partitions)]) for letter in meant)
    return perform(broker, Order(KIND, "replay", actor, reason, now_ms), acts, since_ms)


def _again(letter: Letter, partitions: dict[str, int]) -> OutBlock:
    record = letter.record
    topic, key = record["origin_topic"], record["key"]
    partition = record["origin_partition"] if key is None else partition_for(key, partitions[topic])
    headers = [*sorted(record["headers"].items()), (REPLAY_HEADER, str(letter.place).encode())]
    # When it happened only the record itself knows, if anybody can read it by now; readers take the time from there.
    return OutBlock(topic, partition, [key], [record["payload"]], [record["failed_at"]], [headers])
