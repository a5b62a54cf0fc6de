"""The learn stage of one model: test, train, publish; go back, freeze and resume on command.

Every transaction that learned something publishes one version: its manifest says what it learned, in which order, so
that the state can be rebuilt from the log (see `history`), and whether servers may answer with it (see `gate`). State,
offsets and version are committed together. A learner that is no longer finite is taken back to the version before, and
the examples of that transaction are left out; the next version says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rheostat.learners.contract import Learner
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, Committed, OutBlock, TopicPartition
from rheostat.streams.engine.stage import EachOnItsOwn, Log, Output
from rheostat.streams.learn import evaluation, statements
from rheostat.streams.learn.examples import Examples
from rheostat.streams.learn.gate import Gate, GateState, NotFinite, not_finite_finding
from rheostat.streams.learn.golden import GoldenInputs
from rheostat.streams.learn.history import decoded, partition_of, restore_version, tail
from rheostat.streams.learn.progress import Progress, SavedAt, newest_progress
from rheostat.streams.learn.publication import UNTRAINED, Publisher
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.teaching import teach
from rheostat.streams.models.commands import Command, open_command
from rheostat.streams.models.manifest import TrainingRange
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing, Signer
from rheostat.streams.models.version import Version

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
        golden = GoldenInputs(learner.schema, self.settings.gate.golden)
        gate = Gate(self.settings.gate, golden, GateState.from_json(progress.gate))
        publisher = Publisher(self.settings, self._signer, learner, gate)
        if progress.version is not None:
            saved = progress.nearest_saved(progress.version)
            assert saved is not None, "the first version of every epoch is saved"
            restored = restore_version(log, self.settings.model, saved, progress.version, learner)
            publisher.continue_from(restored.digest)
        return LearnTask(self, learner, publisher, gate, progress, offsets, log, self._new_learner, self._keys)


class LearnTask:
    """A learner at work; the counters are for metrics and start at zero with every process."""

    def __init__(
        self,
        stage: LearnStage,
        learner: Learner,
        publisher: Publisher,
        gate: Gate,
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
        self.left_out = 0
        self.withheld: Counter[str] = Counter()
        self.gate = gate
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
        self._in_log: tuple[SavedAt, Version] | None = None

    @property
    def in_parts(self) -> bool:
        """Whether a base is being told of which parts are still to come."""
        return self._publisher.in_parts

    @property
    def steps_undone(self) -> int:
        """How many steps the learner undid because a parameter was no longer finite."""
        return int(getattr(self.learner, "steps_undone", 0))

    def process(self, blocks: Sequence[Block], now_ms: int) -> Output:
        """Obey commands, then test and learn examples; publish what came of it."""
        status_due = now_ms - self._status_at_ms >= self.settings.status_interval_ms
        version, mode = self.progress.version, self.settings.mode
        idle = not (blocks or status_due or version is None or self.progress.mode != mode)
        if idle and not self._publisher.in_parts:
            return Output()
        self._out = {}
        self._in_log = None if version is None else self._found_from(version)
        if version is None:
            self._publish(UNTRAINED, [], now_ms, None)
        elif self.progress.mode != mode:
            self._publish(version.next(), [], now_ms, None)
        for command in self._commands(blocks, now_ms):
            self._obey(command, now_ms)
        runs: Sequence[TrainingRange] = ()
        if own := [block for block in blocks if block.topic == catalogue.EXAMPLES]:
            examples = decoded(own, self.learner)
            self._take(examples, now_ms)
            runs = examples.runs
        self._say_found(runs, now_ms)
        if status_due:
            self._say_status(None, now_ms)
        self._out.setdefault(catalogue.MODELS, []).extend(self._publisher.base_part())
        self.progress = replace(self.progress, commits=self.progress.commits + 1, gate=self.gate.state.to_json())
        return Output(self._written(now_ms), self.progress.dumps())

    def _take(self, examples: Examples, now_ms: int) -> None:
        frozen = self.progress.frozen or self.settings.mode == "log-only"
        if len(examples):
            assert self.progress.version is not None
            score = evaluation.scores(self.learner, examples.batch)
            tested = evaluation.evaluate(
                self.settings.model,
                self.progress.version,
                self.learner,
                examples,
                learned=not frozen,
                now_ms=now_ms,
                calibration=self._calibration,
                score=score,
            )
            self.gate.compare(self.settings.model, examples, score, self.progress.examples_total)
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
        if not filled or self.settings.mode == "log-only":
            return
        before = self.progress
        assert before.version is not None
        taught = teach(self.learner, filled)
        self.learner.flush()
        self.progress = replace(
            before,
            examples_total=before.examples_total + taught.new,
            owed_weight=before.owed_weight + taught.owed_weight,
        )
        try:
            self._publish(before.version.next(), filled, now_ms, command)
        except NotFinite as error:
            self.progress = before
            self._leave_out(before.version.next(), filled, error, now_ms, command)
        else:
            self.learned += taught.new
            self.revised += taught.revised

    def _leave_out(
        self, version: Version, parts: Sequence[Examples], error: NotFinite, now_ms: int, command: Command | None
    ) -> None:
        """Take the learner back to what it was before these examples, and publish that as the version that follows."""
        learner, count = self._new_learner(), sum(map(len, parts))
        if self._in_log is not None:
            restore_version(self._log, self.settings.model, *self._in_log, learner)
        self.learner = learner
        self.left_out += count
        self._publisher.restart(learner)
        self._publisher.continue_from(tensors_digest(learner.parameters()))
        self.gate.found.append(not_finite_finding(error, count))
        self._publish(version, parts, now_ms, command, left_out=True)

    def _publish(
        self,
        version: Version,
        learned: Sequence[Examples],
        now_ms: int,
        command: Command | None,
        *,
        left_out: bool = False,
    ) -> None:
        total = self.progress.examples_total
        made = self._publisher.publish(
            version, self._offsets, learned, total, self.loss, now_ms, command, left_out=left_out
        )
        self._out.setdefault(catalogue.MODELS, []).extend(made.updates)
        self._out.setdefault(catalogue.MODELS_STATE, []).extend(made.states)
        self.progress = replace(self.progress, version=version, mode=self.settings.mode)
        self.withheld.update(made.withheld)
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
        self._in_log = saved, command.target
        reached = dict(self._offsets)
        self.learner = learner
        self._publisher.restart(learner)
        self.gate.state = GateState()
        self._offsets.update(restored.offsets)
        self.progress = replace(
            self.progress,
            examples_total=restored.examples_total,
            owed_weight=0.0,
            frozen=any(each.end < 0 for each in command.exclude),
        )
        self._publish(Version(command.epoch, 0), [], now_ms, command)
        again = list(tail(self._log, restored.offsets, reached, command.exclude, learner))
        self._offsets.update(reached)
        self._learn(again, now_ms, command)
        self.rollbacks += 1

    def _say_status(self, command: Command | None, now_ms: int) -> None:
        """Say what the learner stands at; with a command, acknowledge it."""
        self._status_at_ms = now_ms
        assert self.progress.version is not None
        value = statements.status(
            self.settings,
            self.progress.version,
            self._publisher.digest,
            now_ms,
            frozen=self.progress.frozen,
            failed=self.gate.state.failed,
            command_id=None if command is None else command.command_id,
        )
        self._write(catalogue.MODELS_STATUS, self.settings.member.encode(), value)

    def _say_found(self, examples: Sequence[TrainingRange], now_ms: int) -> None:
        """Write what the gate's checks began or ceased to say."""
        assert self.progress.version is not None
        for each in self.gate.found:
            value = statements.decision(self.settings, self.progress.version, each, examples, now_ms)
            self._write(catalogue.DECISIONS, self.settings.model.encode(), value)
        self.gate.found.clear()

    def _found_from(self, version: Version) -> tuple[SavedAt, Version]:
        saved = self.progress.nearest_saved(version)
        assert saved is not None, "the first version of every epoch is saved"
        return saved, version

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


_WRITTEN = (
    *(catalogue.MODELS, catalogue.MODELS_STATE, catalogue.EVALUATIONS),
    *(catalogue.MODELS_STATUS, catalogue.DECISIONS),
)
