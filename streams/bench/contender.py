"""The same engine and deduplicator on the task that other stream processors are compared by: decode, drop, encode.

    BOOTSTRAP     the cluster               INPUT_TOPIC, OUTPUT_TOPIC   as many partitions each
    SCHEMA_FILE   the Avro schema           RECORDS                     length of the input

The first record of every event_id is written, under its key, to the partition it came from, exactly once. Prints
READY at the first record, and ends once RECORDS records are committed. The ids seen are restored from the output.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyruhvro

from rheostat.streams.clock import WallClock
from rheostat.streams.collector import collect_rarely
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import StageLoop
from rheostat.streams.engine.stage import EachOnItsOwn, Log, Output
from rheostat.streams.intake.deduplicate import Deduplicator, repeated
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints

_NO_WINDOW_MS = 2**61
"""The whole input counts, whatever the events' times."""

_WIRE_HEADER = [{"name": "wire_magic", "type": "boolean"}, {"name": "wire_id", "type": "float"}]
"""Magic byte and schema id as two more fields in front, so that no value has to be cut or put together."""


@dataclass(frozen=True, slots=True)
class CompareStage(EachOnItsOwn):
    """Drops repeated event ids between two topics with one schema; `ids_max` bounds each partition's memory."""

    source: str
    target: str
    avro: Mapping[str, Any]
    ids_max: int
    assignment: Literal["group", "static"] = "group"
    tick_ms: int | None = None

    @property
    def name(self) -> str:
        """A group of its own for every output."""
        return f"compare-{self.target}"

    @property
    def sources(self) -> tuple[str, ...]:
        """The input topic."""
        return (self.source,)

    def open(
        self,
        partitions: Sequence[int],
        committed: Mapping[TopicPartition, Committed],
        log: Log,
        now_ms: int,
    ) -> CompareTask:
        """Restore the ids seen from the output, and the number of records consumed from the metadata."""
        (partition,) = partitions
        task = CompareTask(self, Deduplicator(_NO_WINDOW_MS, self.ids_max))
        task.consumed = sum(int(each.metadata or 0) for each in committed.values())
        prefix = self.wire_schema(fields=1)
        for block in log.read(self.target, partition):
            ids = fingerprints(pyruhvro.deserialize_array(list(block.values), prefix).column("event_id"))
            task.remember(ids)
        return task

    def wire_schema(self, fields: int | None = None) -> str:
        """Return the schema of the wire bytes, cut after the first fields."""
        return json.dumps({**self.avro, "fields": [*_WIRE_HEADER, *self.avro["fields"][:fields]]})


@dataclass(slots=True)
class CompareTask:
    """The ids seen in one partition."""

    stage: CompareStage
    seen: Deduplicator
    consumed: int = 0
    _schema: str = field(init=False)

    def __post_init__(self) -> None:
        self._schema = self.stage.wire_schema()

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Forward what is new."""
        if not self.consumed:
            print("READY", flush=True)
        records = [self._forward(block) for block in blocks]
        self.consumed += sum(map(len, blocks))
        return Output(records, str(self.consumed))

    def remember(self, ids: Fingerprints) -> None:
        """Take ids as written; time plays no part."""
        self.seen.remember(ids, np.zeros(len(ids.low), np.int64))

    def _forward(self, block: Block) -> OutBlock:
        batch = pyruhvro.deserialize_array(list(block.values), self._schema)
        ids = fingerprints(batch.column("event_id"))
        new = np.flatnonzero(~(self.seen.seen(ids) | repeated(ids)))
        self.remember(ids.take(new))
        (encoded,) = pyruhvro.serialize_record_batch(batch.take(pa.array(new)), self._schema, 1)
        rows = new.tolist()
        return OutBlock(
            self.stage.target,
            block.partition,
            list(map(block.keys.__getitem__, rows)),
            encoded.to_pylist(),
            list(map(block.timestamps_ms.__getitem__, rows)),
        )


def main() -> None:
    """Take part in a comparison as the environment says."""
    records = int(os.environ["RECORDS"])
    avro = json.loads(Path(os.environ["SCHEMA_FILE"]).read_text())
    stage = CompareStage(os.environ["INPUT_TOPIC"], os.environ["OUTPUT_TOPIC"], avro, ids_max=max(records, 1))
    collect_rarely()
    loop = StageLoop(stage, KafkaBroker(os.environ["BOOTSTRAP"]), slot="0", clock=WallClock())
    while sum(task.consumed for task in loop.tasks.values() if isinstance(task, CompareTask)) < records:
        loop.step()
    loop.close()


if __name__ == "__main__":
    main()
