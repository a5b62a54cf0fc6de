"""What one server knows of one model: the newest verified version, those it can go back to, and orders in force.

    updates ──► head (verified, newest) ──► serving, unless its manifest withholds it or serving is held
    freeze, pin: serving is held at a version while the head goes on; resume lets it go
    rollback: head and serving go back, newer versions are forgotten, epochs before the new one are fenced off

No Kafka, no clock, no thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rheostat.learners.predictors import NO_MODULES, Modules
from rheostat.streams.models.apply import ModelVersion, apply_update
from rheostat.streams.models.commands import Command
from rheostat.streams.models.held import HeldDeltas
from rheostat.streams.models.manifest import Manifest, Mode
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.spares import Spares
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
        self._spares = Spares()
        self._early = HeldDeltas()
        self._modules = modules
        self._hold: Hold | None = None
        self._released: ModelVersion | None = None
        self._unsafe: Command | None = None
        self._broken = False

    @property
    def serving(self) -> ModelVersion | None:
        """The version to answer with: the newest that is not withheld, unless held; None before there is one."""
        return self._released if self._hold is None else self._hold.version

    @property
    def head(self) -> ModelVersion | None:
        """The newest version, withheld or not; None before the first base."""
        return self.kept.newest

    @property
    def mode(self) -> Mode:
        """What the newest version says is to be done with the model."""
        return "online" if self.head is None else self.head.manifest.facts.mode

    @property
    def held(self) -> bool:
        """Whether somebody froze or pinned what is served."""
        return self._hold is not None

    @property
    def stays(self) -> bool:
        """Whether what is served is meant to grow old: it is held, or the model is not online."""
        return self.held or self.mode != "online"

    @property
    def state(self) -> LineageState:
        """starting: nothing to serve yet. degraded: newest update refused, or a rollback's target was not kept."""
        if self.serving is None:
            return "starting"
        if self._broken or self._unsafe is not None:
            return "degraded"
        return "live" if self._hold is None else "frozen"

    def apply(self, update: Update) -> ModelVersion:
        """Verify an update and take it as the new head. Raises Refused; then everything stays as it was.

        A delta that there is a gap before may follow a base that is not complete yet: see `behind`.
        """
        manifest = update.manifest
        if manifest.version.epoch < self.fence:
            reason = f"epoch {manifest.version.epoch} was ended by a rollback, epoch {self.fence} is expected"
            raise Refused("fenced", manifest.name, reason)
        try:
            version = apply_update(self.kept.newest, update, self._probe_tolerance, self._modules, self._spares)
        except Refused as refused:
            if refused.check == "gap":
                self._early.hold(update)
            raise
        if manifest.kind == "base":
            self._spares.clear()
        self.kept.add(version)
        if not manifest.facts.withheld:
            self._released = version
        self.fence = max(self.fence, version.version.epoch)
        self.refused, self._broken = None, False
        return version

    def behind(self, base: Version) -> list[Update]:
        """Return the deltas behind a base that came before it was complete; they are kept no longer."""
        return self._early.take(base)

    def wants(self, manifest: Manifest) -> bool:
        """Be told of an update that begins; return False for a base in parts of a version that deltas have told."""
        head = self.kept.newest
        if head is None or manifest.kind == "delta" or manifest.chunks == 1:
            return True
        if manifest.version.epoch == head.version.epoch and manifest.version <= head.version:
            return False
        # It takes as much memory as the version in use, and there is no next delta for now.
        self._spares.clear()
        return True

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

    def _open(self) -> Iterator[ModelVersion]:
        """Yield the versions that are kept and not withheld."""
        return (each for each in self.kept if not each.manifest.facts.withheld)

    def _forget(self, after: Version, before: Version) -> None:
        self.kept.drop_between(after, before)
        if self._released is not None and after < self._released.version < before:
            older = [each for each in self._open() if each.version <= after]
            self._released = older[-1] if older else None
        if self._hold is not None and after < self._hold.version.version < before:
            self._hold = None

    def _resume(self, command: Command) -> bool:
        if self._hold is not None and keeps_hold(self._hold.issuer, command):
            return True
        self._hold = None
        return True

    def _version_to_hold(self, command: Command, replayed: bool) -> ModelVersion | None:
        if command.target is not None:
            return self.kept.get(command.target)
        if not replayed:
            return self.serving
        before = [each for each in self._open() if each.manifest.facts.published_at_ms <= command.issued_at_ms]
        return before[-1] if before else self._released

    def _hold_at(self, command: Command, version: ModelVersion | None) -> bool:
        if version is None:
            self.refused = f"{command.kind} {command.target or ''}: that version is not kept here"
            return False
        self._hold = Hold(command.issuer, version)
        return True


def keeps_hold(issuer: str, resume: Command) -> bool:
    """Whether a hold by this issuer stays: after every rollback the monitor resumes; what people hold, they let go."""
    return resume.issuer == MONITOR and issuer != MONITOR
