"""What a learner must know as of its last commit; travels in the metadata of the committed offsets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rheostat.streams.engine.block import Committed
from rheostat.streams.models.manifest import Mode
from rheostat.streams.models.version import Version

SAVED_STATES_MAX = 64


@dataclass(frozen=True, slots=True)
class SavedAt:
    """A version whose full state is in the log, and the timestamp of its records there."""

    version: Version
    at_ms: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The learner's place: counts commits, so that the newest of several partitions' metadata is known.

    `version` is the one last published, None before the first. `owed_weight`: what learned examples count less since
    the last rollback, and the learner could not take back. `frozen`: examples are tested, not learned. `saved` are the
    versions a rollback can go on from, oldest first, thinned so that they reach far back in little space.
    `calibration`: the state of the evaluation's `PlattScaling`, empty before the first block. `mode`: that of the
    version. `gate`: what the publication gate knows, as `GateState.to_json` has it, empty before the first version.
    """

    commits: int = 0
    version: Version | None = None
    frozen: bool = False
    examples_total: int = 0
    owed_weight: float = 0.0
    saved: tuple[SavedAt, ...] = ()
    calibration: tuple[float, ...] = ()
    mode: Mode = "online"
    gate: tuple[Any, ...] = ()

    def with_saved(self, version: Version, at_ms: int) -> Progress:
        """Remember one more saved state."""
        return replace(self, saved=_thin((*self.saved, SavedAt(version, at_ms))))

    def nearest_saved(self, target: Version) -> SavedAt | None:
        """Return the newest saved state of the target's epoch that is not newer than it."""
        older = [each for each in self.saved if each.version.epoch == target.epoch and each.version <= target]
        return max(older, key=lambda each: each.version, default=None)

    def dumps(self) -> str:
        """Encode for commit metadata."""
        return json.dumps(
            {
                "commits": self.commits,
                "version": self.version,
                "frozen": self.frozen,
                "examples": self.examples_total,
                "owed": self.owed_weight,
                "saved": [(*each.version, each.at_ms) for each in self.saved],
                "calibration": self.calibration,
                "mode": self.mode,
                "gate": self.gate,
            },
            separators=(",", ":"),
        )


def newest_progress(committed: Iterable[Committed]) -> Progress:
    """Return the progress of the last commit, or that of a learner which never committed."""
    found = [_loads(each.metadata) for each in committed if each.metadata]
    return max(found, key=lambda each: each.commits, default=Progress())


def _loads(text: str) -> Progress:
    given = json.loads(text)
    return Progress(
        commits=given["commits"],
        version=None if given["version"] is None else Version(*given["version"]),
        frozen=given["frozen"],
        examples_total=given["examples"],
        owed_weight=given.get("owed", 0.0),
        saved=tuple(SavedAt(Version(epoch, sequence), at_ms) for epoch, sequence, at_ms in given["saved"]),
        calibration=tuple(given.get("calibration", ())),
        mode=given.get("mode", "online"),
        gate=tuple(given.get("gate", ())),
    )


def _thin(saved: tuple[SavedAt, ...]) -> tuple[SavedAt, ...]:
    """Drop, when there are too many, the state whose neighbours are closest in relation to their age."""
    if len(saved) <= SAVED_STATES_MAX:
        return saved
    newest = saved[-1].at_ms

    def crowding(index: int) -> float:
        gap = saved[index + 1].at_ms - saved[index - 1].at_ms
        return gap / (newest - saved[index].at_ms + 1)

    drop = min(range(1, len(saved) - 1), key=crowding)
    return saved[:drop] + saved[drop + 1 :]
