"""The learn stage of one model: test, train, publish; go back, freeze and resume on command.

Every transaction that learned something publishes one version: its manifest says what it learned, in which order, so
that the state can be rebuilt from the log (see `history`). State, offsets and version are committed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rheostat.learners.contract import Learner, needs_context
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import EachOnItsOwn, Log, Output
from rheostat.streams.learn import evaluation
from rheostat.streams.learn.examples import Examples, decode_examples
from rheostat.streams.learn.history import partition_of, restore_version
from rheostat.streams.learn.progress import Progress, newest_progress
from rheostat.streams.learn.publication import Publisher
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.teaching import teach
from rheostat.streams.models.commands import Command, ExcludedRange, open_command
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing, Signer
from rheostat.streams.models.version import Version

FIRST = Version(0, 0)
TICK_MS = 100


class LearnStage(EachOnItsOwn):
    """Learns one model. `new_learner` returns an untrained learner, always in the same state."""

    assignment: Literal["group", "static"] = "static"
    tick_ms: int | None = TICK_MS
    sources: tuple[str, ...] = (catalogue.EXAMPLES, catalogue.MODELS_COMMANDS)

    def __init__(
        self, settings: LearnSettings, new_learner: Callable[[], Learner], signer: Signer, keys: KeyRing
    ) -> None:
        self.settings = settings
        self.name = f"learn-{settings.model}"
        self._new_learner = new_learner
        self._signer = signer
        self._keys = keys

    def open(
        self, partitions: Sequence[int], committed: Mapping[TopicPartition, Committed], log: Log, now_ms: int
    ) -> LearnTask:
        """Rebuild the learner at its last published version. Raises Corrupt when the log does not give it back."""
        progress = newest_progress(committed.values())
        learner = self._new_learner()
        offsets = {at.partition: each.offset or 0 for at, each in committed.items() if at.topic == catalogue.EXAMPLES}
        publisher = Publisher(self.settings, self._signer, learner)
        if progress.version is not None:
            saved = progress.nearest_saved(progress.version)
            assert saved is not None, "the first version of every epoch is saved"
            restored = restore_version(log, self.settings.model, saved, progress.version, learner)
            publisher.continue_from(restored.digest)
        return LearnTask(self, learner, publisher, progress, offsets, log, self._new_learner, self._keys)


class LearnTask:
    """A learner at work; the counters are for metrics and start at zero with every process."""

    def __init__(
        self,
        stage: LearnStage,
        learner: Learner,
        publisher: Publisher,
        progress: Progress,
        offsets: Mapping[int, int],
        log: Log,
        new_learner: Callable[[], Learner],
        keys: KeyRing,
    ) -> None:
        self.settings = stage.settings
        self.learner = learner
        self.progress = progress
        self.learned = 0
        self.revised = 0
        self.tested = 0
        self.bases = 0
        self.deltas = 0
        self.rollbacks = 0
        self.refused_commands = 0
        self.loss: float | None = None
        self._publisher = publisher
        self._calibration = evaluation.calibration_of(progress.calibration)
        self._offsets = dict(offsets)
        self._log = log
        self._new_learner = new_learner
        self._keys = keys
        self._partitions = {topic: partition_of(log, topic, self.settings.model) for topic in _WRITTEN}
        self._out: dict[str, list[tuple[bytes, bytes]]] = {}
        self._status_at_ms = 0

    @property
    def steps_undone(self) -> int:
        """How many steps the learner undid because a parameter was no longer finite."""
        return int(getattr(self.learner, "steps_undone", 0))

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Obey commands, then test and learn examples; publish what came of it."""
        status_due = now_ms - self._status_at_ms >= self.settings.status_interval_ms
        if not (blocks or status_due or self.progress.version is None):
            return Output()
        self._out = {}
        if self.progress.version is None:
            self._publish(FIRST, [], now_ms, None)
        for command in self._commands(blocks, now_ms):
            self._obey(command, now_ms)
        if own := [block for block in blocks if block.topic == catalogue.EXAMPLES]:
            self._take(_decoded(own, self.learner), now_ms)
        if status_due:
            self._say_status(None, now_ms)
        self.progress = replace(self.progress, commits=self.progress.commits + 1)
        return Output(self._written(now_ms), self.progress.dumps())

    def _take(self, examples: Examples, now_ms: int) -> None:
        frozen = self.progress.frozen
        if len(examples):
            assert self.progress.version is not None
            tested = evaluation.evaluate(
                self.settings.model,
                self.progress.version,
                self.learner,
                examples,
                learned=not frozen,
                now_ms=now_ms,
                calibration=self._calibration,
            )
            self.loss = evaluation.mean_brier(tested)
            self.progress = replace(self.progress, calibration=evaluation.calibration_state(self._calibration))
            self.tested += len(examples)
            self._write(catalogue.EVALUATIONS, self.settings.model.encode(), evaluation.encode(tested))
        for run in examples.runs:
            self._offsets[run.partition] = run.end
        if not frozen:
            self._learn([examples], now_ms, None)

    def _learn(self, parts: Sequence[Examples], now_ms: int, command: Command | None) -> None:
        """Learn examples and publish the version that follows, unless there was nothing to learn."""
        filled = [part for part in parts if part.filled]
        if not filled:
            return
        taught = teach(self.learner, filled)
        self.learner.flush()
        before = self.progress.version
        assert before is not None
        self.learned += taught.new
        self.revised += taught.revised
        self.progress = replace(
            self.progress,
            examples_total=self.progress.examples_total + taught.new,
            owed_weight=self.progress.owed_weight + taught.owed_weight,
        )
        self._publish(before.next(), filled, now_ms, command)

    def _publish(self, version: Version, learned: Sequence[Examples], now_ms: int, command: Command | None) -> None:
        made = self._publisher.publish(
            version, self._offsets, learned, self.progress.examples_total, self.loss, now_ms, command
        )
        self._out.setdefault(catalogue.MODELS, []).extend(made.updates)
        self._out.setdefault(catalogue.MODELS_STATE, []).extend(made.states)
        self.progress = replace(self.progress, version=version)
        if made.states:
            self.progress = self.progress.with_saved(version, now_ms)
        self.bases += made.kind == "base"
        self.deltas += made.kind == "delta"

    def _commands(self, blocks: Iterable[Block], now_ms: int) -> Iterable[Command]:
        for block in blocks:
            if block.topic != catalogue.MODELS_COMMANDS:
                continue
            for value in block.values:
                try:
                    command = open_command(value, self._keys)
                except Refused:
                    self.refused_commands += 1
                    continue
                if command.model == self.settings.model and not command.expired(now_ms):
                    yield command

    def _obey(self, command: Command, now_ms: int) -> None:
        assert self.progress.version is not None
        if command.kind == "rollback":
            # A command of an epoch that has begun was obeyed before.
            if command.epoch != self.progress.version.epoch + 1:
                return
            self._roll_back(command, now_ms)
        elif command.epoch != self.progress.version.epoch:
            return
        elif command.kind in ("freeze", "resume"):
            self.progress = replace(self.progress, frozen=command.kind == "freeze")
        self._say_status(command, now_ms)

    def _roll_back(self, command: Command, now_ms: int) -> None:
        """Take the target's full state, begin the new epoch with it, and learn the tail without what is excluded."""
        assert command.target is not None
        saved = self.progress.nearest_saved(command.target)
        if saved is None:
            self.refused_commands += 1
            return
        learner = self._new_learner()
        restored = restore_version(self._log, self.settings.model, saved, command.target, learner)
        reached = dict(self._offsets)
        self.learner = learner
        self._publisher.restart(learner)
        self._offsets.update(restored.offsets)
        self.progress = replace(
            self.progress,
            examples_total=restored.examples_total,
            owed_weight=0.0,
            frozen=any(each.end < 0 for each in command.exclude),
        )
        self._publish(Version(command.epoch, 0), [], now_ms, command)
        tail = list(_tail(self._log, restored.offsets, reached, command.exclude, learner))
        self._offsets.update(reached)
        self._learn(tail, now_ms, command)
        self.rollbacks += 1

    def _say_status(self, command: Command | None, now_ms: int) -> None:
        """Say what the learner stands at; with a command, acknowledge it."""
        self._status_at_ms = now_ms
        assert self.progress.version is not None
        status = {
            "member": self.settings.member,
            "role": "learner",
            "model": self.settings.model,
            "epoch": self.progress.version.epoch,
            "sequence": self.progress.version.sequence,
            "digest": tensors_digest(self.learner.parameters()),
            "state": "frozen" if self.progress.frozen else "live",
            "command_id": None if command is None else command.command_id,
            "refused": None,
            "probe_error_max": None,
            "version_age_ms": None,
            "at": now_ms,
        }
        value = codec.encode_record(catalogue.MODELS_STATUS, status)
        self._write(catalogue.MODELS_STATUS, self.settings.member.encode(), value)

    def _write(self, topic: str, key: bytes, value: bytes) -> None:
        self._out.setdefault(topic, []).append((key, value))

    def _written(self, now_ms: int) -> list[OutBlock]:
        return [
            OutBlock(
                topic,
                self._partitions[topic],
                [key for key, _ in records],
                [value for _, value in records],
                [now_ms] * len(records),
            )
            for topic, records in self._out.items()
            if records
        ]


_WRITTEN = (catalogue.MODELS, catalogue.MODELS_STATE, catalogue.EVALUATIONS, catalogue.MODELS_STATUS)


def _decoded(blocks: Sequence[Block], learner: Learner) -> Examples:
    return decode_examples(blocks, learner.schema, context=needs_context(learner))


def _tail(
    log: Log, start: Mapping[int, int], end: Mapping[int, int], exclude: Sequence[ExcludedRange], learner: Learner
) -> Iterable[Examples]:
    """Yield the examples between two sets of offsets that are not excluded, partition by partition."""
    for number, until in sorted(end.items()):
        since = start.get(number, 0)
        if since >= until:
            continue
        for block in log.read(catalogue.EXAMPLES, number, start_offset=since, end_offset=until):
            parts = [_decoded([block], learner)]
            for each in exclude:
                if each.partition == number:
                    excluded_until = None if each.end < 0 else each.end
                    parts = [left for part in parts for left in part.without(each.start, excluded_until)]
            yield from parts
