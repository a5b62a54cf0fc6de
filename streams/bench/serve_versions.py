"""Versions of a model as its learner publishes them, written by hand and on time: bases, deltas, a rollback."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

import numpy as np

from rheostat.learners.contract import FeatureSchema, Learner, Snapshot
from rheostat.learners.features import batch_from_columns
from rheostat.schemas import catalogue
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.broker import Broker
from rheostat.streams.models.commands import Command, sign_command
from rheostat.streams.models.manifest import Facts, Probe
from rheostat.streams.models.signing import Signer
from rheostat.streams.models.update import Published, build_update
from rheostat.streams.models.version import Version

CATEGORIES = 20_000
_ZIPF = 1.3
_COMMAND_TTL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """Features as an application has them, in columns: numbers (rows, N), and a list of texts for each category."""

    numeric: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    categorical: list[list[str]]

    def each(self, schema: FeatureSchema) -> list[dict[str, float | str | None]]:
        """Return the rows one by one, by the names of their features."""
        rows = zip(self.numeric.tolist(), zip(*self.categorical, strict=True), strict=True)
        names = (*schema.numeric, *schema.categorical)
        return [dict(zip(names, (*numbers, *texts), strict=True)) for numbers, texts in rows]


def simulated_inputs(schema: FeatureSchema, rows: int, random: np.random.Generator) -> Inputs:
    """Return random rows: normal numbers; of the categories few are frequent and most are rare (Zipf's law)."""
    drawn = random.zipf(_ZIPF, (len(schema.categorical), rows)) % CATEGORIES
    return Inputs(random.normal(size=(rows, len(schema.numeric))), [[f"v{each}" for each in row] for row in drawn])


class VersionWriter:
    """Learns from simulated rows and writes each version to `models`: a base every `base_every`, deltas between."""

    def __init__(
        self, broker: Broker, model: str, learner: Learner, signer: Signer, rows: int, base_every: int
    ) -> None:
        self.version = Version(1, -1)
        self._model = model
        self._learner = learner
        self._signer = signer
        self._rows = rows
        self._base_every = base_every
        self._random = np.random.default_rng(0)
        self._truth = self._random.normal(size=len(learner.schema.numeric))
        self._parent: Published | None = None
        self._good: tuple[Version, Snapshot] | None = None
        self._producer = broker.producer()
        self._partitions = broker.log().partitions(catalogue.MODELS)

    def publish(self, command_id: str | None = None) -> None:
        """Learn some rows and write the next version. That of a base is what `roll_back` goes back to."""
        self._learn()
        self.version = self.version.next()
        base = self.version.sequence % self._base_every == 0
        facts = Facts(
            model=self._model,
            version=self.version,
            learner=self._learner.kind,
            schema=self._learner.schema,
            published_at_ms=_now_ms(),
            probes=self._probes() if base else (),
            command_id=command_id,
        )
        built = build_update(facts, self._learner.parameters(), None if base else self._parent, self._signer)
        self._parent = built.published
        if base:
            self._good = self.version, self._learner.snapshot()
        for key, value in built.records:
            self._write(catalogue.MODELS, key, value)

    def roll_back(self, operator: Signer) -> None:
        """Order a rollback to the newest base, and follow it as a learner does: an epoch of its own, begun there."""
        assert self._good is not None, "nothing was published yet"
        target, state = self._good
        epoch, now_ms = self.version.epoch + 1, _now_ms()
        command = Command(
            uuid.uuid4().hex,
            self._model,
            "rollback",
            epoch,
            "bench",
            "operator",
            now_ms,
            now_ms + _COMMAND_TTL_MS,
            target,
        )
        self._write(catalogue.MODELS_COMMANDS, *sign_command(command, operator))
        self._learner.restore(state)
        self.version = Version(epoch, -1)
        self.publish(command.command_id)

    def close(self) -> None:
        """Release the producer."""
        self._producer.close()

    def _learn(self) -> None:
        inputs = simulated_inputs(self._learner.schema, self._rows, self._random)
        noise = self._random.normal(size=self._rows)
        label = (inputs.numeric @ self._truth + noise > 0.0).astype(np.float64)
        self._learner.learn(batch_from_columns(self._learner.schema, inputs.numeric, inputs.categorical, label))
        self._learner.flush()

    def _probes(self) -> tuple[Probe, ...]:
        inputs = simulated_inputs(self._learner.schema, 4, self._random)
        scores = self._learner.predict(batch_from_columns(self._learner.schema, inputs.numeric, inputs.categorical))
        texts = zip(*inputs.categorical, strict=True)
        rows = zip(inputs.numeric.tolist(), texts, scores.tolist(), strict=True)
        return tuple(Probe(tuple(numbers), tuple(names), score) for numbers, names, score in rows)

    def _write(self, topic: str, key: bytes, value: bytes) -> None:
        partition = partition_for(self._model.encode(), self._partitions)
        self._producer.send(topic, key, value, timestamp_ms=_now_ms(), partition=partition)
        self._producer.flush(10_000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
