"""The monitor as a stage: evaluations and statements of members in; decisions, alerts and commands out.

What the watches know travels with the committed offsets. Which version was tested where is read again from the tail of
`evaluations`, which is why a rollback can reach back `HISTORY_MS` after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import EachOnItsOwn, Log, Output
from rheostat.streams.models.commands import Command
from rheostat.streams.models.signing import Signer
from rheostat.streams.monitor.effects import Effect, to_record
from rheostat.streams.monitor.settings import MonitorSettings
from rheostat.streams.monitor.watch import ModelWatch

HISTORY_MS = 3_600_000
MODELS_MAX = 4
"""How many models one monitor watches: their state must fit into the metadata of a commit."""


class MonitorStage(EachOnItsOwn):
    """Watches all models whose evaluations appear, at most `MODELS_MAX`."""

    name = "monitor"
    sources = (catalogue.EVALUATIONS, catalogue.MODELS_STATUS)
    assignment: Literal["static"] = "static"
    tick_ms = 200

    def __init__(self, settings: MonitorSettings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> MonitorTask:
        """Take up the watches as of the last commit, with the versions tested within the last hour."""
        states = [json.loads(each.metadata) for each in committed.values() if each.metadata]
        newest = max(states, key=lambda each: each["commits"], default={"commits": 0, "models": {}})
        task = MonitorTask(self._settings, self._signer, log, newest)
        for at, position in committed.items():
            if at.topic == catalogue.EVALUATIONS and position.offset is not None:
                since_ms = now_ms - HISTORY_MS
                task.remember(log.read(at.topic, at.partition, since_ms=since_ms, end_offset=position.offset))
        return task


class MonitorTask:
    """The watches by model, and what they asked to be written."""

    def __init__(self, settings: MonitorSettings, signer: Signer, log: Log, state: Mapping[str, Any]) -> None:
        self._settings = settings
        self._signer = signer
        self._partitions = {topic: log.partitions(topic) for topic in (*_WRITTEN, catalogue.EXAMPLES)}
        self._commits: int = state["commits"]
        self.ignored_models: set[str] = set()
        self.decided: list[Effect] = []
        examples = self._partitions[catalogue.EXAMPLES]
        self.watches = {
            model: ModelWatch.from_json(model, settings, examples, own) for model, own in state["models"].items()
        }

    def remember(self, blocks: Iterable[Block]) -> None:
        """Rebuild the history of tested versions; block numbers count down to the last one."""
        records = [codec.decode_record(catalogue.EVALUATIONS, value) for block in blocks for value in block.values]
        for model, watch in self.watches.items():
            mine = [record for record in records if record["model"] == model and record["epoch"] <= watch.epoch]
            last = watch.block
            for back, record in enumerate(mine):
                watch.block = last - len(mine) + 1 + back
                watch.remember(record)
            watch.block = last

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Take in what came, look at the clock, and write what follows."""
        effects: list[Effect] = []
        for block in blocks:
            for value in block.values:
                record = codec.decode_record(block.topic, value)
                watch = self._watch(record["model"])
                if watch is None:
                    continue
                if block.topic == catalogue.EVALUATIONS:
                    effects += watch.evaluated(record, now_ms)
                else:
                    effects += watch.member_said(record)
        for watch in self.watches.values():
            effects += watch.time_passed(now_ms)
        self.decided = effects
        self._commits += 1
        state = {"commits": self._commits, "models": {name: watch.to_json() for name, watch in self.watches.items()}}
        return Output(self._written(effects, now_ms), json.dumps(state, separators=(",", ":")))

    def _watch(self, model: str) -> ModelWatch | None:
        if model not in self.watches:
            if len(self.watches) >= MODELS_MAX:
                self.ignored_models.add(model)
                return None
            self.watches[model] = ModelWatch(model, self._settings, self._partitions[catalogue.EXAMPLES])
        return self.watches[model]

    def _written(self, effects: Iterable[Effect], now_ms: int) -> list[OutBlock]:
        out = []
        for effect in effects:
            topic, key, value = to_record(effect, self._signer, now_ms)
            place = effect.model.encode() if isinstance(effect, Command) else key
            out.append(OutBlock(topic, partition_for(place, self._partitions[topic]), [key], [value], [now_ms]))
        return out


_WRITTEN = (catalogue.DECISIONS, catalogue.ALERTS, catalogue.MODELS_COMMANDS)
