"""Whether a model's updates in the topic are whole: every check that a follower makes, and that nothing is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from rheostat.learners.predictors import TORCH_MODULE
from rheostat.learners.river.exported import RIVER
from rheostat.streams.engine.block import Place
from rheostat.streams.engine.stage import Log
from rheostat.streams.models.apply import Rebuilt, rebuild, scored
from rheostat.streams.models.chain import Chain
from rheostat.streams.models.manifest import Manifest
from rheostat.streams.models.refusal import Check, Refused
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.topic import records_of, signed_bases
from rheostat.streams.models.update import Update, UpdateAssembler
from rheostat.streams.models.version import Version

FAULTS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """A check that failed, and the record at which that was seen."""

    place: Place
    check: Check
    reason: str


@dataclass(slots=True)
class Verification:
    """What was read, and what is wrong with it.

    passed_over: deltas from before the first base, which can be left when old updates are deleted. early: those that
    could be applied behind it all the same. told_again: bases in parts of versions that deltas had told. probes: golden
    inputs scored; unscored: bases whose learner cannot be scored with here, so that their probes were not checked.
    """

    model: str
    start: Place | None = None
    records: int = 0
    bases: int = 0
    deltas: int = 0
    passed_over: int = 0
    early: int = 0
    told_again: int = 0
    probes: int = 0
    unscored: int = 0
    newest: Version | None = None
    digest: str | None = None
    faults_total: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, place: Place, refused: Refused) -> None:
        """Note a fault; the first ones are kept."""
        self.faults_total += 1
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(Fault(place, refused.check, refused.reason))


def verify(log: Log, keys: KeyRing, model: str, *, whole: bool = False) -> Verification:
    """Check a model's updates from the newest base on, or all of them with `whole`."""
    found = Verification(model)
    bases = [] if whole else signed_bases(records_of(log, model), keys)
    start = bases[-1].place.offset if bases else None
    assembler = UpdateAssembler(keys, lambda _, refused: found.add(record.place, refused))
    chain = Chain(lambda built: _check_scores(built, found))
    early: set[Version] = set()
    for record in records_of(log, model, start):
        found.start = found.start or record.place
        found.records += 1
        update = assembler.feed(record.key, record.value)
        if update is None:
            continue
        before = chain.current
        for each, became in chain.take(update):
            if isinstance(became, Rebuilt):
                _count(became.manifest, found)
                if (gap := _gap(before, became.manifest.version)) is not None:
                    found.add(record.place, Refused("gap", became.manifest.name, gap))
                before = became
                found.early += became.manifest.version in early
                early.discard(became.manifest.version)
            elif before is None and each.manifest.kind == "delta":
                early.add(each.manifest.version)
            elif not _told_again(before, each):
                found.add(record.place, became)
            else:
                found.told_again += 1
    assembler.end()
    found.passed_over = len(early)
    if chain.current is not None:
        found.newest, found.digest = chain.current.manifest.version, chain.current.digest
    return found


def _check_scores(built: Rebuilt, found: Verification) -> None:
    facts = built.manifest.facts
    if _scorable(facts.learner):
        scored(built)
        found.probes += len(facts.probes)
    else:
        found.unscored += bool(facts.probes)


def _count(manifest: Manifest, found: Verification) -> None:
    if manifest.kind == "base":
        found.bases += 1
    else:
        found.deltas += 1


def _told_again(current: Rebuilt | None, update: Update) -> bool:
    """Whether this is a base in parts, right in itself, of a version that a delta has told already."""
    manifest = update.manifest
    if current is None or manifest.kind == "delta" or manifest.chunks == 1:
        return False
    if manifest.version.epoch != current.manifest.version.epoch or manifest.version > current.manifest.version:
        return False
    try:
        rebuild(None, update)
    except Refused:
        return False
    return True


def _gap(current: Rebuilt | None, version: Version) -> str | None:
    """Return what is missing between two versions that follow each other, in words."""
    if current is None:
        return None
    before = current.manifest.version
    if version.epoch == before.epoch and version != before.next():
        return f"{before.next()} to {Version(version.epoch, version.sequence - 1)} are missing"
    if version.epoch > before.epoch and version.sequence != 0:
        return f"epoch {version.epoch} begins with sequence {version.sequence}; those before are missing"
    return None


def _scorable(learner: str) -> bool:
    """Whether a learner's model can be scored with here: some need a library, or code of the user's."""
    return learner != TORCH_MODULE and (learner != RIVER or find_spec("river") is not None)
