"""A published version made again from the log alone: every example, in the order and with the cuts that made it.

What a version is follows from the untrained learner and, for each version before it, what its manifest says it learned.
So it does not matter how often the learner was interrupted in between: one run without any interruption must come to
the same digests, version by version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rheostat.learners.contract import Learner
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.learn.history import partition_of, read_training, relearn
from rheostat.streams.learn.state import read_state
from rheostat.streams.models.manifest import Manifest, decode_manifest
from rheostat.streams.models.version import Version

VERSIONS_AT_ONCE = 256

Progress = Callable[[int, int], None]
"""Is told how many versions are done, of how many."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A version that came out with the digest it was published with, and what it was made of.

    since: the version whose saved state it was learned from, None for the untrained learner.
    """

    version: Version
    digest: str
    since: Version | None
    versions: int
    examples: int


def reproduce(
    log: Log,
    model: str,
    target: Version,
    new_learner: Callable[[], Learner],
    *,
    since: Version | None = None,
    progress: Progress | None = None,
) -> Reproduced:
    """Make a version again, from the untrained learner or from the state saved with `since`, and compare all digests.

    Raises ConfigError for a version that is not in the log; Corrupt naming the first version that comes out different,
    and what the log lacks.
    """
    lineage = lineage_of(list(_manifests(log, model)), model, target)
    learner = new_learner()
    if since is not None:
        lineage = _after(log, model, lineage, since, learner)
    examples, done = 0, 0
    for at in range(0, len(lineage), VERSIONS_AT_ONCE):
        some = lineage[at : at + VERSIONS_AT_ONCE]
        runs = read_training(log, some, learner)
        for manifest in some:
            examples, done = examples + relearn(learner, manifest, runs), done + 1
            digest = tensors_digest(learner.parameters())
            if digest != manifest.digest:
                raise Corrupt(
                    manifest.name, f"comes out with digest {digest[:12]}, published with {manifest.digest[:12]}"
                )
        if progress is not None:
            progress(done, len(lineage))
    digest = tensors_digest(learner.parameters())
    return Reproduced(target, digest, since, len(lineage), examples)


def lineage_of(manifests: Sequence[Manifest], model: str, target: Version) -> list[Manifest]:
    """Return the manifests of all versions that a version was learned from, and its own, in order.

    The first version of an epoch is an older one again, which has its digest and its offsets.
    """
    # A base in parts tells a version again, and not what it was learned from.
    known = {each.version: each for each in reversed(manifests)}
    lineage: list[Manifest] = []
    at: Version | None = target
    while at is not None:
        own = [Version(at.epoch, number) for number in range(at.sequence + 1)]
        if missing := [each for each in own[::-1] if each not in known]:
            raise ConfigError(f"{model} {missing[0]} is not in the log; `rheostat status` tells the newest version")
        lineage[:0] = [known[each] for each in own]
        at = _origin(known, lineage[0])
    return lineage


def _origin(known: Mapping[Version, Manifest], first: Manifest) -> Version | None:
    older = [
        each.version
        for each in known.values()
        if each.version.epoch < first.version.epoch
        and (each.digest, each.facts.offsets) == (first.digest, first.facts.offsets)
    ]
    if not older and first.version.epoch:
        raise Corrupt(f"{first.model} {first.version}", "no older version in the log is the one that it goes on from")
    return max(older, default=None)


def _manifests(log: Log, model: str) -> Iterator[Manifest]:
    for block in log.read(catalogue.MODELS, partition_of(log, catalogue.MODELS, model)):
        for value in block.values:
            if value is None:
                continue
            record = codec.decode_record(catalogue.MODELS, value)
            if record["chunk"] == 0 and (manifest := decode_manifest(record["manifest"])).model == model:
                yield manifest


def _after(log: Log, model: str, lineage: list[Manifest], since: Version, learner: Learner) -> list[Manifest]:
    """Put the learner into a saved state; return the versions that follow it."""
    versions = [each.version for each in lineage]
    if since not in versions:
        raise ConfigError(f"{model} {versions[-1]} was not learned from {since}")
    blocks = log.read(catalogue.MODELS_STATE, partition_of(log, catalogue.MODELS_STATE, model))
    learner.restore(read_state(blocks, model, since).snapshot)
    return lineage[versions.index(since) + 1 :]
