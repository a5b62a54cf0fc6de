"""Our own follower as one that notes what every record does, and histories that say what it must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rheostat.streams.models.apply import PROBE_TOLERANCE, ModelVersion
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing, Signer
from rheostat.streams.models.update import UpdateAssembler
from rheostat.streams.serving.kept import KeptVersions
from rheostat.streams.serving.lineage import Lineage
from tests.support.model_updates import (
    LEARNER,
    Record,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a record does: which refusals it causes, in order, and the version that is in use from it on."""

    refused: tuple[str, ...] = ()
    applied: str | None = None


@dataclass
class History:
    """Records of the topic, in order, with what is expected of each."""

    about: str
    signers: tuple[Signer, ...] = (LEARNER,)
    records: list[Record] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, records: Record | Sequence[Record], applied: str | None = None, *refused: str) -> None:
        """Go on with records, of which the last does something."""
        some = [records] if isinstance(records, tuple) else list(records)
        self.records += some
        self.outcomes += [Outcome()] * (len(some) - 1) + [Outcome(refused, applied)]

    def refuse(self, records: Record | Sequence[Record], *refused: str) -> None:
        """Go on with records, of which the last is refused."""
        self.add(records, None, *refused)


@dataclass
class Followed:
    """A follower of all models, as servers have it, that notes what becomes of every record."""

    keys: KeyRing
    outcomes: list[Outcome] = field(default_factory=list)
    lineages: dict[str, Lineage] = field(default_factory=dict)
    _refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._assembler = UpdateAssembler(self.keys, lambda _, refused: self._refused.append(refused.check))

    def read(self, key: bytes | None, value: bytes | None) -> None:
        applied = None
        updates = [] if (update := self._assembler.feed(key, value)) is None else [update]
        for update in updates:
            model = update.manifest.model
            lineage = self.lineages.setdefault(model, Lineage(model, KeptVersions(2, 1 << 30), PROBE_TOLERANCE))
            try:
                version = lineage.apply(update).version
            except Refused as refused:
                self._refused.append(refused.check)
                continue
            applied = str(version)
            if update.manifest.kind == "base":
                updates += lineage.behind(version)
        self.outcomes.append(Outcome(tuple(self._refused), applied))
        self._refused.clear()

    def current(self) -> Iterator[tuple[str, ModelVersion]]:
        """The newest version of every model that has one, by the model's name."""
        for model, lineage in sorted(self.lineages.items()):
            if lineage.head is not None:
                yield model, lineage.head

    def answers(self, model: str) -> str | None:
        """The version that a model answers with."""
        serving = self.lineages[model].serving
        return None if serving is None else str(serving.version)
