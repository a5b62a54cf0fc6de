"""What one server knows of one model: the newest verified version, those it can go back to, and orders in force.

    updates ──► head (verified, newest) ──► serving, unless held
    freeze, pin: serving is held at a version while the head goes on; resume lets it go
    rollback: head and serving go back, newer versions are forgotten, epochs before the new one are fenced off

No Kafka, no clock, no thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rheostat.learners.predictors import NO_MODULES, Modules
from rheostat.streams.models.apply import ModelVersion, apply_update
from rheostat.streams.models.commands import Command
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.update import Update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.kept import KeptVersions

MONITOR = "monitor"
LineageState = Literal["starting", "live", "frozen", "degraded"]
# Refusals that are nothing to worry about: repetitions, and what a rollback was meant to keep out.
_EXPECTED = ("old", "fenced")


@dataclass(frozen=True, slots=True)
class Hold:
    """Serving is held at a version, by whose order."""

    issuer: str
    version: ModelVersion


class Lineage:
    """The verified versions of one model, as orders leave them."""

    def __init__(self, model: str, kept: KeptVersions, probe_tolerance: float, modules: Modules = NO_MODULES) -> None:
        self.model = model
        self.kept = kept
        self.fence = 0
        self.promoted: Version | None = None
        self.refused: str | None = None
        self._probe_tolerance = probe_tolerance
        self._modules = modules
        self._hold: Hold | None = None
        self._unsafe: Command | None = None
        self._broken = False

    @property
    def serving(self) -> ModelVersion | None:
        """The version to answer with; None before the first base."""
        return self.kept.newest if self._hold is None else self._hold.version

    @property
    def held(self) -> bool:
        """Whether somebody froze or pinned what is served."""
        return self._hold is not None

    @property
    def state(self) -> LineageState:
        """starting: nothing to serve yet. degraded: newest update refused, or a rollback's target was not kept."""
        if self.serving is None:
            return "starting"
        if self._broken or self._unsafe is not None:
            return "degraded"
        return "live" if self._hold is None else "frozen"

    def apply(self, update: Update) -> ModelVersion:
        """Verify an update and take it as the new head. Raises Refused; then everything stays as it was."""
        manifest = update.manifest
        if manifest.version.epoch < self.fence:
            reason = f"epoch {manifest.version.epoch} was ended by a rollback, epoch {self.fence} is expected"
            raise Refused("fenced", manifest.name, reason)
        version = apply_update(self.kept.newest, update, self._probe_tolerance, self._modules)
        self.kept.add(version)
        self.fence = max(self.fence, version.version.epoch)
        self.refused, self._broken = None, False
        return version

    def refuse(self, refused: Refused) -> None:
        """Remember why the newest update was refused."""
        self.refused = str(refused)
        self._broken = self._broken or refused.check not in _EXPECTED

    def healed_command(self, version: ModelVersion) -> str | None:
        """Return the command that a new epoch's base answers: its own, or a rollback that had no kept target."""
        unsafe = self._unsafe
        if unsafe is not None and version.version.epoch >= unsafe.epoch:
            self._unsafe = None
            return unsafe.command_id
        return version.manifest.facts.command_id

    def obey(self, command: Command, *, replayed: bool = False) -> bool:
        """Carry out an order; return whether the model is now as ordered (then it may be acknowledged).

        `replayed`: it was in the log when this server started, behind updates that are already applied.
        """
        if command.kind == "rollback":
            return self._roll_back(command)
        if command.kind == "promote":
            self.promoted = command.target
            return True
        if command.kind == "resume":
            return self._resume(command)
        return self._hold_at(command, self._version_to_hold(command, replayed))

    def _roll_back(self, command: Command) -> bool:
        target = command.target
        assert target is not None
        if self.fence >= command.epoch:
            # The learner's answer came first: forget what the rollback took back, keep the new epoch.
            self._forget(target, Version(command.epoch, 0))
            return self.serving is not None
        self.fence = command.epoch
        if self.kept.at_most(target) is None:
            self._unsafe = command
            self.refused = (
                f"rollback to {target}: no version that old is kept; waiting for a base of epoch {self.fence}"
            )
            return False
        self._forget(target, Version(command.epoch, 0))
        self.refused, self._broken, self._unsafe = None, False, None
        return True

    def _forget(self, after: Version, before: Version) -> None:
        self.kept.drop_between(after, before)
        if self._hold is not None and after < self._hold.version.version < before:
            self._hold = None

    def _resume(self, command: Command) -> bool:
        # The monitor resumes learning after every rollback; what a person holds, only a person lets go.
        if self._hold is not None and command.issuer == MONITOR and self._hold.issuer != MONITOR:
            return True
        self._hold = None
        return True

    def _version_to_hold(self, command: Command, replayed: bool) -> ModelVersion | None:
        if command.target is not None:
            return self.kept.get(command.target)
        if not replayed:
            return self.serving
        before = [each for each in self.kept if each.manifest.facts.published_at_ms <= command.issued_at_ms]
        return before[-1] if before else self.kept.newest

    def _hold_at(self, command: Command, version: ModelVersion | None) -> bool:
        if version is None:
            self.refused = f"{command.kind} {command.target or ''}: that version is not kept here"
            return False
        self._hold = Hold(command.issuer, version)
        return True
