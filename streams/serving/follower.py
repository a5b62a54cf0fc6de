"""Follows the models topic: verifies, applies, swaps, goes back when told to, and says what it runs.

`step` does everything and has no thread; `start` loops it in one. Readers call `current`, which takes no lock.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from rheostat.learners.predictors import Modules
from rheostat.schemas import catalogue
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import Clock
from rheostat.streams.engine.block import Block, TopicPartition
from rheostat.streams.engine.broker import Broker
from rheostat.streams.errors import Retryable
from rheostat.streams.metrics import OTHER, Metrics
from rheostat.streams.models.apply import PROBE_TOLERANCE, ModelVersion
from rheostat.streams.models.commands import Command, open_command
from rheostat.streams.models.manifest import Manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.update import Limits, Update, UpdateAssembler, key_model
from rheostat.streams.models.version import Version
from rheostat.streams.serving.answers import DefaultScorer, FallbackScorer, Scorer
from rheostat.streams.serving.cold_start import HISTORY_MS, Wanted, start_offsets
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.serving.kept import KeptVersions
from rheostat.streams.serving.lineage import Lineage
from rheostat.streams.serving.served_trails import ServedTrails
from rheostat.streams.serving.status import Status, encode_status, server_status, status_headers
from rheostat.streams.serving.warm_up import warm_up

SwapCallback = Callable[[ModelVersion, float], None]
"""Told of every version taken into use, with the monotonic time in seconds at which readers could see it."""


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """What a follower must be told. No `models` means all that appear, at most `models_max`.

    fallbacks: by model, what is answered when its version has become too old; without one no version is too old.
    warm_up_rows: how many recent predictions are scored again before it is ready. modules: for models that are modules
    of torch, the functions that make them.
    history_ms: how far back a server that has just started can go back, at least, without waiting for the learner.
    pinned: by model, versions that are kept whatever comes, unless they are taken back. optional: models that it can
    be ready without.
    """

    member: str
    models: tuple[str, ...] = ()
    models_max: int = 64
    keep_versions: int = 2_000
    keep_bytes_max: int = 1 << 30
    status_interval_ms: int = 5_000
    probe_tolerance: float = PROBE_TOLERANCE
    limits: Limits = field(default_factory=Limits)
    poll_records_max: int = 500
    commands_seen_max: int = 10_000
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    warm_up_rows: int = 1_000
    history_ms: int = HISTORY_MS
    modules: Modules = field(default_factory=dict)
    pinned: Mapping[str, frozenset[Version]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()


class ModelFollower:
    """The models of one server. Only `step` (or the thread) changes anything; `current` may be called by any thread."""

    def __init__(
        self,
        broker: Broker,
        settings: FollowerSettings,
        keys: KeyRing,
        clock: Clock,
        metrics: Metrics,
        on_status: Callable[[Status], None] | None = None,
        on_swap: Sequence[SwapCallback] = (),
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._on_status = on_status
        self._on_swap = tuple(on_swap)
        self._trails = ServedTrails(metrics)
        self._assembler = UpdateAssembler(keys, self._refuse, settings.limits, self._wants)
        self._lineages: dict[str, Lineage] = {}
        self._serving: dict[str, Scorer] = {}
        self._fallen_back: dict[str, FallbackScorer] = {}
        self._apprentices: dict[str, Scorer] = {}
        self._seen: dict[str, None] = {}
        self._replayed: deque[Command] = deque(maxlen=settings.commands_seen_max)
        self._status_at_ms: int | None = None
        self._status_count = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        self.ignored_commands: Counter[str] = Counter()
        for model in settings.models:
            self._lineage(model)
        self._log = broker.log()
        self._warm = not settings.warm_up_rows
        self._status_partitions = self._log.partitions(catalogue.MODELS_STATUS)
        self._producer = broker.producer()
        self._follow_from = partial(broker.tailer, [catalogue.MODELS, catalogue.MODELS_COMMANDS], from_beginning=True)
        self._starts = self._found_starts()
        self._tailer = self._follow_from(starts=self._starts)

    def current(self, model: str) -> ModelVersion | None:
        """Return the version to answer with."""
        scorer = self._serving.get(model)
        return None if scorer is None else scorer.version

    def scorer(self, model: str) -> Scorer | None:
        """Return the same version ready to answer, or its fallback if it is too old; None where that does not answer.

        Looked at with every call, so that a version grows too old also when nothing is followed any more.
        """
        return self._fallen_back.get(model) if self.too_old(model) else self._serving.get(model)

    def apprentice(self, model: str) -> Scorer | None:
        """Return what would answer if the model were online, while it is an apprentice."""
        return self._apprentices.get(model)

    def too_old(self, model: str) -> bool:
        """Whether the version in use is older than its model's may be."""
        fallback, version = self._settings.fallbacks.get(model), self.current(model)
        if fallback is None or version is None or self._lineages[model].stays:
            return False
        return self._clock.now_ms() - version.manifest.facts.published_at_ms > fallback.age_max_ms

    def lineage(self, model: str) -> Lineage | None:
        """Return what is known of a model; None for one that is not followed."""
        return self._lineages.get(model)

    @property
    def models(self) -> tuple[str, ...]:
        """The models followed, wanted or found, sorted."""
        return tuple(sorted(self._lineages))

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the log at the start is applied."""
        return self._tailer.caught_up()

    @property
    def ready(self) -> bool:
        """Whether it has caught up with the log, has a version of every model, and has warmed up with them."""
        return self._warm and self.caught_up and not self.missing()

    def missing(self) -> tuple[str, ...]:
        """Return the models that it waits for, as they have no verified version yet."""
        return tuple(each for each in self.models if each not in self._serving and each not in self._settings.optional)

    def step(self, timeout_ms: int) -> int:
        """Take new records, waiting up to `timeout_ms` for the first; return how many came."""
        replaying = not self._tailer.caught_up()
        blocks = self._poll(timeout_ms)
        read_ms = self._clock.now_ms()
        for block in blocks:
            if block.topic == catalogue.MODELS:
                self._take_updates(block, replaying)
        if blocks and not replaying:
            free = {model: each for model, each in self._serving.items() if not self._lineages[model].held}
            self._trails.followed(blocks, read_ms, free, self._clock.now_ms())
        commands = [
            each for block in blocks if block.topic == catalogue.MODELS_COMMANDS for each in self._opened(block)
        ]
        if replaying:
            # Topics have no order among each other, and a fence that comes before the versions it spares would leave
            # a restarted server with nothing to serve: so first all updates of the past, then all commands.
            self._replayed.extend(commands)
            commands = []
        if self._starts and self._tailer.caught_up():
            self._begin_earlier_if_needed()
        if self._replayed and self._tailer.caught_up():
            while self._replayed:
                self._obey(self._replayed.popleft(), replayed=True)
        for command in commands:
            self._obey(command, replayed=False)
        self._heartbeat()
        if not self._warm and self.caught_up and not self.missing():
            warm_up(self._log, self.scorer, self._settings.warm_up_rows, self._clock.now_ms())
            self._warm = True
        return sum(map(len, blocks))

    def start(self) -> None:
        """Loop `step` in a thread until `stop`. An error that cannot be retried ends it and is kept in `failure`."""
        self._thread = threading.Thread(target=self._run, name="model-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, say that this server stopped, and release everything. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.failure is None:
            for lineage in self._lineages.values():
                self._send(server_status(self._settings.member, lineage, self._clock.now_ms(), None, stopped=True))
        self._tailer.close()
        self._producer.close()

    def refresh_metrics(self) -> None:
        """Bring the gauges that change with time up to date."""
        for model, scorer in self._serving.copy().items():
            age_ms = self._clock.now_ms() - scorer.version.manifest.facts.published_at_ms
            self._metrics.follower_version_age_seconds.labels(model).set(max(0, age_ms) / 1000.0)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.step(timeout_ms=100)
        except BaseException as error:
            self.failure = error

    def _found_starts(self) -> dict[TopicPartition, int]:
        """Return where to begin; with models that are not known by name, or a log that cannot be read now, nowhere."""
        pinned = self._settings.pinned
        wanted = [
            Wanted(each, pinned.get(each, frozenset()), self._settings.history_ms) for each in self._settings.models
        ]
        try:
            return start_offsets(self._log, self._keys, wanted)
        except Retryable:
            return {}

    def _begin_earlier_if_needed(self) -> None:
        """Read everything if the newest base could not be used, so that there is nothing to answer with."""
        if any(self._lineages[model].serving is None for model in self._settings.models):
            self._tailer.close()
            self._tailer = self._follow_from()
            self._assembler = UpdateAssembler(self._keys, self._refuse, self._settings.limits, self._wants)
        self._starts = {}

    def _poll(self, timeout_ms: int) -> list[Block]:
        try:
            return self._tailer.poll(self._settings.poll_records_max, timeout_ms)
        except Retryable:
            return []

    def _wanted(self, model: str | None) -> bool:
        return model is not None and (not self._settings.models or model in self._settings.models)

    def _lineage(self, model: str) -> Lineage | None:
        if model not in self._lineages and len(self._lineages) < self._settings.models_max:
            pinned = self._settings.pinned.get(model, frozenset())
            kept = KeptVersions(self._settings.keep_versions, self._settings.keep_bytes_max, pinned)
            self._lineages[model] = Lineage(model, kept, self._settings.probe_tolerance, self._settings.modules)
            self._metrics.declare("follower", model)
        return self._lineages.get(model)

    def _take_updates(self, block: Block, replaying: bool) -> None:
        for key, value in zip(block.keys, block.values, strict=True):
            if key is not None and not self._wanted(key_model(key)):
                continue
            update = self._assembler.feed(key, value)
            if update is not None:
                self._apply(update, replaying)

    def _apply(self, update: Update, replaying: bool) -> None:
        lineage = self._lineage(update.manifest.model)
        if lineage is None:
            return
        try:
            version = lineage.apply(update)
        except Refused as refused:
            self._refuse(lineage.model, refused)
            return
        self._swap(lineage)
        if version.manifest.kind == "base":
            answered = lineage.healed_command(version)
            if not replaying:
                self._say(lineage, answered)
            for each in lineage.behind(version.version):
                self._apply(each, replaying)

    def _wants(self, manifest: Manifest) -> bool:
        lineage = self._lineages.get(manifest.model)
        return lineage is None or lineage.wants(manifest)

    def _refuse(self, model: str | None, refused: Refused) -> None:
        lineage = self._lineages.get(model or "")
        # Only names of models that are followed become labels: a key is not signed, anyone could invent more.
        self._metrics.follower_refused(OTHER if lineage is None else lineage.model, refused.check)
        if lineage is not None:
            lineage.refuse(refused)

    def _swap(self, lineage: Lineage) -> None:
        self._look_up_apprentice(lineage)
        version, before = lineage.serving, self._serving.get(lineage.model)
        if version is None:
            return
        by_default = lineage.mode != "online"
        if before is None or version is not before.version or by_default != isinstance(before, DefaultScorer):
            self._serving[lineage.model] = DefaultScorer(version) if by_default else Scorer(version)
        if before is not None and version is before.version:
            return
        fallback = self._settings.fallbacks.get(lineage.model)
        if fallback is not None and fallback.score is not None:
            self._fallen_back[lineage.model] = FallbackScorer(version, fallback.score)
        at = time.monotonic()
        self._metrics.follower_swaps_total.labels(lineage.model).inc()
        self._metrics.follower_version_epoch.labels(lineage.model).set(version.version.epoch)
        self._metrics.follower_version_sequence.labels(lineage.model).set(version.version.sequence)
        for callback in self._on_swap:
            callback(version, at)

    def _look_up_apprentice(self, lineage: Lineage) -> None:
        head, before = lineage.head, self._apprentices.get(lineage.model)
        if head is None or lineage.mode != "apprentice":
            self._apprentices.pop(lineage.model, None)
        elif before is None or before.version is not head:
            self._apprentices[lineage.model] = Scorer(head)

    def _opened(self, block: Block) -> list[Command]:
        commands = []
        for value in block.values:
            try:
                commands.append(open_command(value, self._keys))
            except Refused as refused:
                self._metrics.follower_refused(OTHER, refused.check)
        return commands

    def _obey(self, command: Command, *, replayed: bool) -> None:
        lineage = self._lineages.get(command.model)
        if lineage is None or not self._is_new(command):
            self.ignored_commands["foreign" if lineage is None else "duplicate"] += 1
            return
        expired = command.expired(self._clock.now_ms())
        if expired and not self._still_counts(command, lineage, replayed):
            self.ignored_commands["expired"] += 1
            return
        done = lineage.obey(command, replayed=replayed)
        self._swap(lineage)
        if not expired:
            self._say(lineage, command.command_id if done else None)

    def _is_new(self, command: Command) -> bool:
        if command.command_id in self._seen:
            return False
        self._seen[command.command_id] = None
        if len(self._seen) > self._settings.commands_seen_max:
            del self._seen[next(iter(self._seen))]
        return True

    @staticmethod
    def _still_counts(command: Command, lineage: Lineage, replayed: bool) -> bool:
        """Whether an expired command shaped the past: a hold in force, or a rollback that the learner carried out."""
        return replayed and (command.kind != "rollback" or lineage.fence >= command.epoch)

    def _heartbeat(self) -> None:
        now_ms = self._clock.now_ms()
        due = self._status_at_ms is None or now_ms >= self._status_at_ms + self._settings.status_interval_ms
        if due and self._tailer.caught_up():
            self._status_at_ms = now_ms
            self.refresh_metrics()
            for lineage in self._lineages.values():
                self._say(lineage, None)

    def _say(self, lineage: Lineage, command_id: str | None) -> None:
        self._send(server_status(self._settings.member, lineage, self._clock.now_ms(), command_id))

    def _send(self, status: Status) -> None:
        key, value = encode_status(status)
        self._status_count += 1
        try:
            self._producer.send(
                catalogue.MODELS_STATUS,
                key,
                value,
                timestamp_ms=status.at_ms,
                headers=status_headers(status, self._status_count),
                partition=partition_for(status.model.encode(), self._status_partitions),
            )
        except Retryable:
            # The next heartbeat says the same again.
            return
        if self._on_status is not None:
            self._on_status(status)
