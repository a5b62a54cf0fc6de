"""What lies in `models`: its updates as they are told there, and any version put together again and verified."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Place
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.models.apply import Rebuilt
from rheostat.streams.models.chain import Chain
from rheostat.streams.models.manifest import Manifest, decode_manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import MANIFEST_TYPE, KeyRing
from rheostat.streams.models.update import UpdateAssembler, key_model, key_version
from rheostat.streams.models.version import Version

EARLY_MAX = 100_000
"""So many records before the first of a base are looked through for deltas that are behind it."""


@dataclass(slots=True)
class StoredUpdate:
    """One update as the topic tells it, nothing of it verified: where its first record lies, who says to have signed.

    bytes, records: what is left of it in the topic.
    """

    manifest: Manifest
    key_id: str
    place: Place
    bytes: int
    records: int = 1

    @property
    def complete(self) -> bool:
        """Whether all of its records are there."""
        return self.records == self.manifest.chunks


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record of the topic."""

    place: Place
    key: bytes | None
    value: bytes | None


def in_words(place: Place) -> str:
    """Return a place as errors and tables show it: "models[0]@17"."""
    return f"{place.topic}[{place.partition}]@{place.offset}"


def model_partition(log: Log, model: str) -> int:
    """Return the partition of `models` that has a model's updates."""
    return partition_for(model.encode(), log.partitions(catalogue.MODELS))


def records_of(log: Log, model: str, start_offset: int | None = None) -> Iterator[StoredRecord]:
    """Yield the records whose key names the model, in order."""
    for record in _records(log, model_partition(log, model), start_offset):
        if key_model(record.key) == model:
            yield record


def stored_updates(log: Log) -> Iterator[StoredUpdate]:
    """Yield every update whose first record is there, with its size, in order. What cannot be read is passed over."""
    for number in range(log.partitions(catalogue.MODELS)):
        open_updates: dict[str, StoredUpdate] = {}
        for record in _records(log, number, None):
            model = key_model(record.key)
            if model is None or record.value is None:
                continue
            begun = _begun(record)
            if begun is not None:
                if model in open_updates:
                    yield open_updates[model]
                open_updates[model] = begun
            elif model in open_updates:
                open_updates[model].bytes += len(record.value)
                open_updates[model].records += 1
        yield from open_updates.values()


def signed_bases(records: Iterable[StoredRecord], keys: KeyRing) -> list[StoredUpdate]:
    """Return the bases among one model's records of which every record is there and the first is properly signed.

    The place of each is where to begin to read so as to have every delta behind it, too.
    """
    found: list[StoredUpdate] = []
    open_base: StoredUpdate | None = None
    before: deque[tuple[Place, Version]] = deque(maxlen=EARLY_MAX)
    for record in records:
        if record.value is None:
            continue
        if (record.key or b"").split(b"|")[1:2] != [b"base"]:
            before.append((record.place, key_version(record.key)))
            continue
        begun = _begun(record, keys)
        if begun is not None:
            open_base = begun
            behind = list(takewhile(partial(_is_behind, begun.manifest.version), reversed(before)))
            if behind:
                open_base.place = behind[-1][0]
        elif open_base is not None and record.key == open_base.manifest.key(open_base.records):
            open_base.bytes += len(record.value)
            open_base.records += 1
        if open_base is not None and open_base.complete:
            found.append(open_base)
            open_base = None
    return found


def rebuild_version(log: Log, keys: KeyRing, model: str, version: Version | None = None) -> Rebuilt:
    """Return a version put together from the topic, the newest one by default, with every check but that of scores.

    Raises ConfigError where the topic does not have it, and Corrupt, naming the place, where it has it and it does not
    pass a check.
    """
    bases = signed_bases(records_of(log, model), keys)
    if version is not None:
        of_epoch = (each for each in bases if each.manifest.version.epoch == version.epoch)
        bases = [each for each in of_epoch if each.manifest.version <= version]
    if not bases:
        raise ConfigError(_not_there(log, model, version))
    refusals: list[str] = []
    # The newest is enough, unless it is broken.
    for each in reversed(bases):
        found = _rebuild_from(log, keys, model, version, each.place.offset, refusals)
        if found is not None:
            return found
    if refusals:
        raise Corrupt(f"{model} {version or bases[-1].manifest.version}", refusals[0])
    raise ConfigError(_not_there(log, model, version))


def _rebuild_from(
    log: Log, keys: KeyRing, model: str, version: Version | None, offset: int, refusals: list[str]
) -> Rebuilt | None:
    assembler = UpdateAssembler(keys, lambda _, why: refusals.append(f"{in_words(record.place)}: {why}"))
    chain = Chain()
    for record in records_of(log, model, offset):
        update = assembler.feed(record.key, record.value)
        if update is None or (version is not None and update.manifest.version > version):
            continue
        for _, became in chain.take(update):
            if isinstance(became, Refused):
                refusals.append(f"{in_words(record.place)}: {became}")
            elif became.manifest.version == version:
                return became
    return chain.current if version is None else None


def _records(log: Log, number: int, start_offset: int | None) -> Iterator[StoredRecord]:
    for block in log.read(catalogue.MODELS, number, start_offset=start_offset):
        for offset, key, value in zip(block.offsets, block.keys, block.values, strict=True):
            yield StoredRecord(Place(catalogue.MODELS, number, offset), key, value)


def _is_behind(base: Version, update: tuple[Place, Version]) -> bool:
    return update[1].epoch == base.epoch and update[1] > base


def _begun(record: StoredRecord, keys: KeyRing | None = None) -> StoredUpdate | None:
    """Return the update whose first record this is, if it is one; with `keys`, only if it is properly signed."""
    if record.value is None or not (record.key or b"").endswith(b"|0"):
        return None
    try:
        fields = codec.decode_record(catalogue.MODELS, record.value)
        if keys is not None:
            keys.verify("update", MANIFEST_TYPE, fields["manifest"], fields["key_id"], fields["signature"])
        manifest = decode_manifest(fields["manifest"])
    except (codec.BadRecord, Refused):
        return None
    if record.key != manifest.key(0) or fields["chunk"] != 0:
        return None
    return StoredUpdate(manifest, fields["key_id"], record.place, len(record.value))


def _not_there(log: Log, model: str, version: Version | None) -> str:
    versions: dict[str, list[Version]] = {}
    for each in stored_updates(log):
        versions.setdefault(each.manifest.model, []).append(each.manifest.version)
    if model not in versions:
        return f"no model {model!r} in `models`; there are: {', '.join(sorted(versions)) or 'none'}"
    range_ = f"{min(versions[model])} to {max(versions[model])}"
    if version is None:
        return f"no base of {model} in `models` is signed with a known key, so none of {range_} can be put together"
    return f"{model} {version} is not in `models`, or no base before it in its epoch is; there are {range_}"
