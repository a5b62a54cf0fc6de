"""Going back: a learner's state at any published version, rebuilt from the log.

The full state is saved now and then; in between, every version's manifest says which examples it learned, in which
order, and that it was a cut. Learning them again gives the same state to the bit, which the version's digest proves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rheostat.learners.contract import Learner, needs_context
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import Corrupt
from rheostat.streams.learn.examples import Examples, decode_examples
from rheostat.streams.learn.progress import SavedAt
from rheostat.streams.learn.state import read_state
from rheostat.streams.learn.teaching import teach
from rheostat.streams.models.commands import ExcludedRange
from rheostat.streams.models.manifest import Manifest, TrainingRange, decode_manifest
from rheostat.streams.models.version import Version


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a restored learner stands: next example by partition, and how many it has learned."""

    version: Version
    offsets: Mapping[int, int]
    examples_total: int
    digest: str


def restore_version(log: Log, model: str, saved: SavedAt, target: Version, learner: Learner) -> Restored:
    """Put the learner into the state it had when it published `target`, starting from a state saved before it.

    Raises Corrupt when the log has a gap or when the result does not have the digest that was published.
    """
    state = read_state(
        log.read(catalogue.MODELS_STATE, partition_of(log, catalogue.MODELS_STATE, model), since_ms=saved.at_ms),
        model,
        saved.version,
    )
    learner.restore(state.snapshot)
    chain = list(_chain(log, model, saved, target))
    found = [each.version for each in chain]
    if found != (expected := _sequence(saved.version, target)):
        missing = [str(version) for version in expected if version not in found]
        raise Corrupt(
            f"{model} {target}",
            f"`models` does not have every version since {saved.version}, from which on it must be learned again: "
            f"{len(missing)} are missing, {', '.join(missing[:3]) or 'none'} first",
        )
    replay(log, chain[1:], learner)
    digest = tensors_digest(learner.parameters())
    last = chain[-1]
    if digest != last.digest:
        raise Corrupt(f"{model} {target}", f"rebuilt with digest {digest[:12]}, published with {last.digest[:12]}")
    return Restored(target, last.facts.offsets, last.facts.examples_total, digest)


def replay(log: Log, chain: Sequence[Manifest], learner: Learner) -> None:
    """Learn again what these versions learned, in their order, with a cut after each."""
    examples = read_training(log, chain, learner)
    for manifest in chain:
        relearn(learner, manifest, examples)


def read_training(log: Log, chain: Sequence[Manifest], learner: Learner) -> dict[int, list[Examples]]:
    """Read the examples around what these versions learned, by partition, in order."""
    ranges = [each for manifest in chain for each in manifest.facts.training if each.learned]
    return {number: _read(log, ranges, number, learner) for number in {each.partition for each in ranges}}


def relearn(learner: Learner, manifest: Manifest, examples: Mapping[int, Sequence[Examples]]) -> int:
    """Learn what one version learned, with a cut after it, from what `read_training` read; return how many those are.

    Raises Corrupt when the log does not have all of them.
    """
    training = [each for each in manifest.facts.training if each.learned]
    parts = [run.within(each.start, each.end) for each in training for run in examples[each.partition]]
    found, expected = sum(map(len, parts)), sum(each.count for each in training)
    if found != expected:
        raise Corrupt(
            manifest.name,
            f"was made of {expected} examples, of which the log has {found} (from examples[{training[0].partition}]@"
            f"{training[0].start}); older ones may have been deleted: go on from a version whose state was saved later",
        )
    teach(learner, [part for part in parts if part.filled])
    learner.flush()
    return found


def tail(
    log: Log, start: Mapping[int, int], end: Mapping[int, int], exclude: Sequence[ExcludedRange], learner: Learner
) -> Iterator[Examples]:
    """Yield the examples between two sets of offsets that are not excluded, partition by partition."""
    for number, until in sorted(end.items()):
        since = start.get(number, 0)
        if since >= until:
            continue
        for block in log.read(catalogue.EXAMPLES, number, start_offset=since, end_offset=until):
            parts = [decoded([block], learner)]
            for each in exclude:
                if each.partition == number:
                    excluded_until = None if each.end < 0 else each.end
                    parts = [left for part in parts for left in part.without(each.start, excluded_until)]
            yield from parts


def decoded(blocks: Sequence[Block], learner: Learner) -> Examples:
    """Decode blocks of `examples`, at least one, as a learner takes them."""
    return decode_examples(blocks, learner.schema, context=needs_context(learner))


def partition_of(log: Log, topic: str, model: str) -> int:
    """Return the partition that holds a model's records."""
    return partition_for(model.encode(), log.partitions(topic))


def _sequence(first: Version, last: Version) -> list[Version]:
    return [Version(first.epoch, number) for number in range(first.sequence, last.sequence + 1)]


def _chain(log: Log, model: str, saved: SavedAt, target: Version) -> Iterator[Manifest]:
    """Yield the manifests from the saved version to the target, in order, one a version.

    A base in parts comes behind the delta that told the same version.
    """
    newest: Version | None = None
    number = partition_of(log, catalogue.MODELS, model)
    for block in log.read(catalogue.MODELS, number, since_ms=saved.at_ms):
        for value in block.values:
            if value is None:
                continue
            record = codec.decode_record(catalogue.MODELS, value)
            if record["chunk"] != 0:
                continue
            manifest = decode_manifest(record["manifest"])
            wanted = manifest.model == model and saved.version <= manifest.version <= target
            if wanted and (newest is None or manifest.version > newest):
                newest = manifest.version
                yield manifest
                if manifest.version == target:
                    return


def _read(log: Log, ranges: list[TrainingRange], number: int, learner: Learner) -> list[Examples]:
    mine = [each for each in ranges if each.partition == number]
    start, end = min(each.start for each in mine), max(each.end for each in mine)
    blocks = log.read(catalogue.EXAMPLES, number, start_offset=start, end_offset=end)
    return [decoded([block], learner) for block in blocks]
