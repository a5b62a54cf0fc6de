"""The watch over one model: evidence from evaluations, a rollback when it suffices, probation, resume.

Pure: every method takes the time as an argument and returns what is to be written. `to_json` and `from_json` carry the
state over a restart; the history of tested versions is rebuilt from the evaluations themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rheostat.learners.baseline import Baseline, BaselineRule, interrupted, observe_reference
from rheostat.learners.edetector import Detector, Evidence, begin, log_evidence, observe, targets_above
from rheostat.streams.control.rollback import Phase, transition
from rheostat.streams.models.commands import Command, ExcludedRange
from rheostat.streams.models.version import Version
from rheostat.streams.monitor.effects import Alert, Decision, Effect
from rheostat.streams.monitor.history import History, Tested
from rheostat.streams.monitor.settings import MonitorSettings

HOUR_MS = 3_600_000
TARGETS = 5
ISSUER = "monitor"


@dataclass(slots=True)
class Pending:
    """A rollback that is under way: its epoch, when it was commanded, who was to acknowledge it and who has."""

    command_id: str
    epoch: int
    issued_at_ms: int
    members: tuple[str, ...]
    acks: dict[str, int] = field(default_factory=dict)
    reported: bool = False

    @property
    def missing(self) -> list[str]:
        """Members that have not acknowledged."""
        return sorted(set(self.members) - self.acks.keys())

    def seconds_to_safe(self) -> float | None:
        """Seconds from the command to the last acknowledgement; None while one is missing."""
        if self.missing or not self.acks:
            return None
        return (max(self.acks.values()) - self.issued_at_ms) / 1000.0


class ModelWatch:
    """One model. `partitions` is the number of partitions of `examples`."""

    def __init__(self, model: str, settings: MonitorSettings, partitions: int) -> None:
        self.model = model
        self.settings = settings
        self.phase = Phase.HEALTHY
        self.epoch = 0
        self.block = 0
        self.baseline = Baseline()
        self.evidence: Evidence | None = None
        self.pending: Pending | None = None
        self.recovery = (0, 0.0)
        self.rollbacks_at_ms: tuple[int, ...] = ()
        self.last_data_ms: int | None = None
        self.no_data = False
        self.safe_seconds: list[float] = []
        self._partitions = partitions
        self._members: dict[str, int] = {}
        self._history = History()
        self._rule = BaselineRule(settings.baseline_events, settings.renew_events, margin=settings.effect)

    def remember(self, evaluation: Mapping[str, Any]) -> None:
        """Note a block for later rollbacks, and no more: for rebuilding after a restart. `block` is not moved."""
        version = Version(evaluation["epoch"], evaluation["sequence"])
        self._history.add(self.block, version, evaluation["ranges"], _sums(evaluation["cells"], None)[0])

    def evaluated(self, evaluation: Mapping[str, Any], now_ms: int) -> list[Effect]:
        """Take in an evaluation; evaluations of epochs that were left do not count."""
        version = Version(evaluation["epoch"], evaluation["sequence"])
        effects = self._data_came(now_ms)
        if version.epoch < self.epoch:
            return effects
        if version.epoch > self.epoch:
            # A person rolled back: what was gathered belongs to an epoch that ended.
            self.epoch, self.evidence, self.pending = version.epoch, None, None
            self.phase = transition(self.phase, Phase.HEALTHY)
        self.block += 1
        self.remember(evaluation)
        count, total, squares = _sums(evaluation["cells"], self.settings.label_ages)
        if not count:
            return effects
        if self.phase in (Phase.ROLLING_BACK, Phase.PROBATION):
            return effects + self._tested_on_probation(count, total, now_ms)
        if self.phase is Phase.FROZEN or not evaluation["learned"]:
            return effects
        return effects + self._judge(version, count, total, squares, now_ms)

    def member_said(self, status: Mapping[str, Any]) -> list[Effect]:
        """Take in a member's statement: it is alive, and it may acknowledge a command."""
        if status["state"] == "stopped":
            self._members.pop(status["member"], None)
        else:
            self._members[status["member"]] = status["at"]
        pending = self.pending
        if pending is None or status["command_id"] != pending.command_id or status["member"] in pending.acks:
            return []
        before = pending.seconds_to_safe()
        pending.acks[status["member"]] = status["at"]
        seconds = pending.seconds_to_safe()
        if before is not None or seconds is None:
            return []
        self.safe_seconds.append(seconds)
        if not pending.reported:
            return []
        return [self._ack_alert("closed", f"all members of {self.model} acknowledged {pending.command_id}", pending)]

    def time_passed(self, now_ms: int) -> list[Effect]:
        """Look at the clock: missing acknowledgements, a hold that lasts too long, labels that stay away."""
        return [*self._check_acks(now_ms), *self._check_hold(now_ms), *self._check_data(now_ms)]

    def log_evidence(self) -> float:
        """Return the evidence against 'no worse than normal', in nats; 0 before there is any."""
        found = 0.0 if self.evidence is None else log_evidence(self.evidence)
        return max(found, 0.0)

    def _judge(self, version: Version, count: int, total: float, squares: float, now_ms: int) -> list[Effect]:
        m0 = self.baseline.m0
        if m0 is not None:
            detector = Detector(m0, targets_above(m0, _effect(m0, self.settings.effect), TARGETS), self._arl)
            self.evidence = observe(detector, self.evidence or begin(detector, self.block), count, total, self.block)
            if self.evidence.alarm:
                return self._alarm(self.evidence, total / count, m0, now_ms)
            suspect = self.log_evidence() > math.log(self._arl) / 2
            self.phase = transition(self.phase, Phase.SUSPECT if suspect else Phase.HEALTHY)
        self.baseline = observe_reference(self._rule, self.baseline, count, total, squares)
        return []

    @property
    def _arl(self) -> float:
        return float(self.settings.arl_events)

    def _alarm(self, evidence: Evidence, loss: float, m0: float, now_ms: int) -> list[Effect]:
        onset = evidence.alarm_onset if evidence.alarm_onset is not None else self.block
        target = self._history.target(onset, self.settings.margin_events, self.epoch)
        assert target is not None, "the present block is in the history"
        exclude = self._since(target)
        recent = [at for at in self.rollbacks_at_ms if now_ms - at < HOUR_MS]
        inputs = {"m0": m0, "block_loss": loss, "events": float(evidence.events), "onset_block": float(onset)}
        value, threshold = log_evidence(evidence), math.log(self._arl)
        self.baseline = interrupted(self.baseline)
        self.evidence = None
        base = f"{self.model}-{self.epoch + 1}"
        reason = f"the loss rose above {m0:.3f} (last block {loss:.3f}), since about version {target.version}"
        if not self.settings.enabled:
            verdict = Decision(
                f"fail-{base}-{self.block}", self.model, "FAIL", value, threshold, f"dry run: {reason}", inputs, exclude
            )
            self.phase = transition(self.phase, Phase.HEALTHY)
            return [verdict]
        if len(recent) >= self.settings.rollbacks_per_hour_max:
            return self._freeze(base, value, threshold, inputs, reason, now_ms)
        self.rollbacks_at_ms = (*recent, now_ms)
        command = Command(
            command_id=f"rollback-{base}",
            model=self.model,
            kind="rollback",
            epoch=self.epoch + 1,
            reason=reason,
            issuer=ISSUER,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + self.settings.command_ttl_ms,
            target=target.version,
            exclude=exclude,
            evidence=inputs,
        )
        alive = (name for name, at in self._members.items() if now_ms - at <= self.settings.member_timeout_ms)
        self.pending = Pending(command.command_id, command.epoch, now_ms, tuple(sorted(alive)))
        self.epoch, self.recovery = command.epoch, (0, 0.0)
        self.phase = transition(self.phase, Phase.ROLLING_BACK)
        decision = Decision(
            f"fail-{base}", self.model, "FAIL", value, threshold, reason, inputs, exclude, command.command_id
        )
        summary = (
            f"{self.model} was rolled back to {target.version}: {reason}. It learns nothing until losses are normal."
        )
        return [
            decision,
            command,
            Alert(f"drift-{base}", "drift", self.model, "open", "page", summary, value, threshold),
        ]

    def _since(self, target: Tested) -> tuple[ExcludedRange, ...]:
        return tuple(ExcludedRange(number, target.offsets.get(number, 0)) for number in range(self._partitions))

    def _freeze(
        self, base: str, value: float, threshold: float, inputs: Mapping[str, float], reason: str, now_ms: int
    ) -> list[Effect]:
        """Stop learning and call a person: rolling back again and again does not help."""
        self.phase = transition(self.phase, Phase.FROZEN)
        command = self._command(f"freeze-{base}", "freeze", f"too many rollbacks within an hour; {reason}", now_ms)
        summary = (
            f"{self.model} is frozen after {self.settings.rollbacks_per_hour_max} rollbacks within an hour. Look at "
            f"its feedback, then order: rheostat rollback {self.model} --resume"
        )
        return [
            Decision(
                f"fail-{base}", self.model, "FAIL", value, threshold, command.reason, inputs, (), command.command_id
            ),
            command,
            Alert(f"frozen-{base}", "frozen", self.model, "open", "page", summary, value, threshold),
        ]

    def _tested_on_probation(self, count: int, total: float, now_ms: int) -> list[Effect]:
        """Gather losses of the restored version; when a full window of them is normal, let it learn again."""
        self.phase = transition(self.phase, Phase.PROBATION)
        seen, lost = self.recovery[0] + count, self.recovery[1] + total
        m0 = self.baseline.m0
        if seen < self.settings.recover_events:
            self.recovery = (seen, lost)
            return []
        self.recovery = (0, 0.0)
        if m0 is None or lost / seen > m0:
            return []
        return self._resume(
            "PASS", f"the restored version's loss is normal again ({lost / seen:.3f})", lost / seen, now_ms
        )

    def _resume(self, verdict: str, reason: str, value: float, now_ms: int) -> list[Effect]:
        base = f"{self.model}-{self.epoch}"
        m0 = self.baseline.m0 or 0.0
        if verdict == "TIMEOUT":
            # What is normal has changed, or nobody can tell: learn it anew instead of alarming at once.
            self.baseline = Baseline()
        self.phase = transition(self.phase, Phase.HEALTHY)
        command = self._command(f"resume-{base}", "resume", reason, now_ms)
        timed_out = verdict == "TIMEOUT"
        decision = Decision(
            f"{verdict.lower()}-{base}",
            self.model,
            "TIMEOUT" if timed_out else "PASS",
            value,
            m0,
            reason,
            command_id=command.command_id,
        )
        closed = Alert(f"drift-{base}", "drift", self.model, "closed", "page", f"{self.model} learns again: {reason}")
        if not timed_out:
            return [decision, command, closed]
        page = Alert(f"hold-{base}", "hold-timeout", self.model, "open", "page", reason, value, m0)
        return [decision, command, closed, page]

    def _command(self, command_id: str, kind: Any, reason: str, now_ms: int) -> Command:
        return Command(
            command_id, self.model, kind, self.epoch, reason, ISSUER, now_ms, now_ms + self.settings.command_ttl_ms
        )

    def _check_acks(self, now_ms: int) -> list[Effect]:
        pending = self.pending
        if pending is None or pending.reported or not pending.missing:
            return []
        if now_ms - pending.issued_at_ms < self.settings.ack_deadline_ms:
            return []
        pending.reported = True
        names = ", ".join(pending.missing)
        return [
            self._ack_alert("open", f"{names} did not acknowledge {pending.command_id}; check or stop them", pending)
        ]

    def _ack_alert(self, state: Any, summary: str, pending: Pending) -> Alert:
        name = f"ack-{pending.command_id}"
        return Alert(name, "unacknowledged", self.model, state, "page", summary, float(len(pending.missing)))

    def _check_hold(self, now_ms: int) -> list[Effect]:
        pending = self.pending
        if pending is None or self.phase not in (Phase.ROLLING_BACK, Phase.PROBATION):
            return []
        held_ms = now_ms - pending.issued_at_ms
        if held_ms < self.settings.max_hold_ms:
            return []
        if self.phase is Phase.ROLLING_BACK:
            self.phase = transition(self.phase, Phase.PROBATION)
        reason = (
            f"held for {held_ms / 1000:.0f} s and the loss is not normal again; learning goes on, a person should look"
        )
        return self._resume("TIMEOUT", reason, held_ms / 1000, now_ms)

    def _data_came(self, now_ms: int) -> list[Effect]:
        self.last_data_ms = now_ms
        if not self.no_data:
            return []
        self.no_data = False
        return [Alert(f"no-data-{self.model}", "no-data", self.model, "closed", "ticket", "labels arrive again")]

    def _check_data(self, now_ms: int) -> list[Effect]:
        if self.last_data_ms is None or self.no_data or now_ms - self.last_data_ms < self.settings.no_data_ms:
            return []
        self.no_data = True
        silent_s = (now_ms - self.last_data_ms) / 1000
        reason = f"no matured labels for {silent_s:.0f} s; nothing can be said about the loss, nothing is rolled back"
        limit_s = self.settings.no_data_ms / 1000
        return [
            Decision(f"no-data-{self.model}-{now_ms}", self.model, "NO_DATA", silent_s, limit_s, reason),
            Alert(f"no-data-{self.model}", "no-data", self.model, "open", "ticket", reason, silent_s, limit_s),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the state as what JSON can hold."""
        pending = self.pending
        return {
            "phase": self.phase.value,
            "epoch": self.epoch,
            "block": self.block,
            "baseline": self.baseline.to_json(),
            "evidence": None if self.evidence is None else self.evidence.to_json(),
            "recovery": list(self.recovery),
            "rollbacks": list(self.rollbacks_at_ms),
            "data": self.last_data_ms,
            "silent": self.no_data,
            "pending": None
            if pending is None
            else [
                pending.command_id,
                pending.epoch,
                pending.issued_at_ms,
                pending.members,
                pending.acks,
                pending.reported,
            ],
        }

    @staticmethod
    def from_json(model: str, settings: MonitorSettings, partitions: int, state: Mapping[str, Any]) -> ModelWatch:
        """Return the watch that `to_json` wrote."""
        watch = ModelWatch(model, settings, partitions)
        watch.phase = Phase(state["phase"])
        watch.epoch, watch.block = state["epoch"], state["block"]
        watch.baseline = Baseline.from_json(state["baseline"])
        watch.evidence = None if state["evidence"] is None else Evidence.from_json(state["evidence"])
        watch.recovery = (state["recovery"][0], state["recovery"][1])
        watch.rollbacks_at_ms = tuple(state["rollbacks"])
        watch.last_data_ms, watch.no_data = state["data"], state["silent"]
        if state["pending"] is not None:
            command_id, epoch, issued, members, acks, reported = state["pending"]
            watch.pending = Pending(command_id, epoch, issued, tuple(members), dict(acks), reported)
        return watch


def _effect(m0: float, effect: float) -> float:
    """Return the least rise to be sensitive for; near 1 there is less room."""
    return min(effect, (1.0 - m0) / 2.0)


def _sums(cells: Sequence[Mapping[str, Any]], label_ages: Sequence[str] | None) -> tuple[int, float, float]:
    """Return count, sum and sum of squares of the Brier losses in the cells with these label ages; None: all."""
    chosen = [cell for cell in cells if label_ages is None or cell["label_age"] in label_ages]
    return (
        sum(cell["count"] for cell in chosen),
        math.fsum(cell["brier_sum"] for cell in chosen),
        math.fsum(cell["brier_squared_sum"] for cell in chosen),
    )
