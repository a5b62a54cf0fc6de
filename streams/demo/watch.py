"""What the demo reads from the log while it runs: versions, decisions, commands, acknowledgements, alerts."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.broker import Broker
from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.models.manifest import Manifest, decode_manifest
from rheostat.streams.models.version import Version

TOPICS = (
    catalogue.EXAMPLES,
    catalogue.MODELS,
    catalogue.MODELS_COMMANDS,
    catalogue.MODELS_STATUS,
    catalogue.DECISIONS,
    catalogue.ALERTS,
)


@dataclass(slots=True)
class Watched:
    """Everything noteworthy so far; written by the watching thread only."""

    published: dict[str, int] = field(default_factory=dict)
    newest: dict[str, Version] = field(default_factory=dict)
    brier: dict[str, float] = field(default_factory=dict)
    rollbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    acks: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def seconds_to_safe(self) -> float | None:
        """Return the longest time from a rollback command to its last acknowledgement."""
        times = [
            (max(self.acks[name].values()) - command["issued_at"]) / 1000.0
            for name, command in self.rollbacks.items()
            if self.acks.get(name)
        ]
        return max(times, default=None)


class Watcher:
    """Follows the log in a thread until stopped; an error in it is raised by `stop`."""

    def __init__(self, broker: Broker, tracker: FreshnessTracker, model: str) -> None:
        self.watched = Watched()
        self._tracker = tracker
        self._model = model
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._tailer = broker.tailer(TOPICS, from_beginning=True)
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(10)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for block in self._tailer.poll(10_000, 50):
                    self._take(block)
        except BaseException as error:
            self._error = error
        finally:
            self._tailer.close()

    def _take(self, block: Block) -> None:
        if block.topic == catalogue.EXAMPLES:
            ids = codec.decode_fields(block.topic, block.values, 1).column(0).to_pylist()
            for event_id, offset in zip(ids, block.offsets, strict=True):
                self._tracker.event_joined(event_id, block.partition, offset)
            return
        for value in block.values:
            record = codec.decode_record(block.topic, value)
            if block.topic == catalogue.MODELS:
                if record["chunk"] == 0:
                    self._version(decode_manifest(record["manifest"]))
            elif block.topic == catalogue.MODELS_COMMANDS:
                self._command(codec.decode_body(catalogue.COMMAND, record["command"]))
            elif block.topic == catalogue.MODELS_STATUS:
                if record["command_id"] is not None:
                    acks = self.watched.acks.setdefault(record["command_id"], {})
                    acks.setdefault(record["member"], record["at"])
            elif block.topic == catalogue.DECISIONS:
                self._note(f"{record['verdict']} {record['model']}: {record['reason']}")
            else:
                self._note(f"alert {record['state']}: {record['rule']}: {record['summary']}")

    def _version(self, manifest: Manifest) -> None:
        watched = self.watched
        watched.published[manifest.model] = watched.published.get(manifest.model, 0) + 1
        watched.newest[manifest.model] = manifest.version
        if "brier" in manifest.facts.metrics:
            watched.brier[manifest.model] = manifest.facts.metrics["brier"]
        if manifest.model == self._model:
            ranges = [(each.partition, each.start, each.end) for each in manifest.facts.training]
            self._tracker.version_published(manifest.version, ranges)

    def _command(self, command: dict[str, Any]) -> None:
        if command["kind"] == "rollback":
            self.watched.rollbacks[command["command_id"]] = command
            target = Version(command["target_epoch"], command["target_sequence"])
            self._note(f"rollback of {command['model']} to {target}: {command['reason']}")
        else:
            self._note(f"{command['kind']} of {command['model']}: {command['reason']}")

    def _note(self, text: str) -> None:
        self.watched.notes.append(text)
