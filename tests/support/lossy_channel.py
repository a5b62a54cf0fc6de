"""What may arrive of a model's updates over a channel that loses, repeats, reorders and corrupts, among strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from rheostat.learners import tensorfile
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.base_parts import BaseInParts
from rheostat.streams.models.manifest import Facts, Manifest, encode_manifest
from rheostat.streams.models.signing import MANIFEST_TYPE, generate_signer
from rheostat.streams.models.update import BuiltUpdate
from rheostat.streams.models.version import Version
from tests.support.model_topic import LEARNER, SCHEMA, Publisher, linear_tensors
from tests.support.serving import Record

STRANGER = generate_signer(LEARNER.key_id)
"""Not the learner, though he takes its name."""

FAULTS_MAX = 8
PUBLICATIONS = 60


@dataclass(frozen=True)
class Publication:
    """What a learner published: records in order, the pairs of digest and version that are true, and the next base."""

    records: list[Record]
    published: frozenset[tuple[str, Version]]
    next_base: list[Record]
    next_digest: str


@cache
def publication(seed: int) -> Publication:
    """Return 1 to 12 versions in one epoch or several, in one record each or several, some told again in parts."""
    random = Random(seed)
    publisher = Publisher(chunk_bytes_max=random.choice([200, 100_000]))
    updates, records, parts = [], list[Record](), list[Record]()
    for step in range(random.randint(1, 12)):
        publisher.nudge(step)
        fresh = step > 0 and random.random() < 0.2
        base = step == 0 or fresh or random.random() < 0.25
        epoch = (publisher.version or Version(1, 0)).epoch + 1 if fresh else None
        updates.append(publisher.publish(base=base, epoch=epoch))
        records += [*updates[-1].records, *parts[:2]]
        parts = parts[2:]
        if not (base or parts) and random.random() < 0.4:
            parts = _told_again(updates[-1], publisher.chunk_bytes_max)
    publisher.nudge(99)
    last = publisher.publish(base=True)
    return Publication(
        records,
        frozenset((update.manifest.digest, update.manifest.version) for update in updates) | old_epoch().published,
        list(last.records),
        last.manifest.digest,
    )


def _told_again(update: BuiltUpdate, chunk_bytes_max: int) -> list[Record]:
    base, records = BaseInParts(update.manifest, update.published.tensors, LEARNER, chunk_bytes_max, 1), list[Record]()
    while not base.done:
        records += base.part()
    return records


@cache
def old_epoch() -> Publication:
    """Return the bases of an epoch before all others, each of which a follower may take if it has nothing newer."""
    publisher = Publisher()
    updates = []
    for step in range(20):
        publisher.nudge(step)
        updates.append(publisher.publish(base=True, epoch=0))
    published = frozenset((update.manifest.digest, update.manifest.version) for update in updates)
    return Publication([record for update in updates for record in update.records], published, [], "")


@cache
def forged() -> list[Record]:
    """Return a base and deltas that follow it, all signed by a stranger."""
    publisher = Publisher(signer=STRANGER)
    return [record for step in range(20) for record in publisher.publish(base=step % 5 == 0).records]


def _signed(version: Version, payload: bytes, digest: str) -> Record:
    """Return a base that the learner signed, whatever is in it."""
    facts = Facts("phishing", version, "linear/1", SCHEMA, published_at_ms=0)
    manifest = Manifest(facts, "base", None, digest, hashlib.sha256(payload).hexdigest(), len(payload), 1)
    body = encode_manifest(manifest)
    signature = LEARNER.sign(MANIFEST_TYPE, body)
    value = {"manifest": body, "key_id": LEARNER.key_id, "signature": signature, "chunk": 0, "tensors": payload}
    return manifest.key(0), codec.encode_record(catalogue.MODELS, value)


@cache
def mistakes() -> list[Record]:
    """Return bases that a broken learner signed: unknown dtype, false digest, NaN, wrong shape, wrong type."""
    return [record for number in range(20) for record in _mistakes(Version(1 + number % 4, number))]


def _mistakes(version: Version) -> list[Record]:
    good = linear_tensors()
    payload, weights = tensorfile.dump(good), good["weights"]
    changed: list[NDArray[np.generic]] = [np.full(len(weights), np.nan), weights[1:], weights.astype(np.float32)]
    broken = [{**good, "weights": each} for each in changed]
    return [
        _signed(version, payload.replace(b'"F64"', b'"C64"'), tensors_digest(good)),
        _signed(version, payload, "0" * 64),
        *(_signed(version, tensorfile.dump(bad), tensors_digest(bad)) for bad in broken),
    ]


Fault = Callable[[list[Record], int, Random], None]


def _drop(records: list[Record], at: int, random: Random) -> None:
    if len(records) > 1:
        del records[at]


def _repeat(records: list[Record], at: int, random: Random) -> None:
    records.insert(random.randint(0, len(records)), records[at])


def _swap(records: list[Record], at: int, random: Random) -> None:
    other = random.randrange(len(records))
    records[at], records[other] = records[other], records[at]


def _truncate(records: list[Record], at: int, random: Random) -> None:
    key, value = records[at]
    records[at] = key, (value or b"")[: random.randint(0, len(value or b"") - 1 if value else 0)]


def _corrupt(records: list[Record], at: int, random: Random) -> None:
    key, value = records[at]
    if value:
        place = random.randrange(len(value))
        records[at] = key, value[:place] + bytes([value[place] ^ 1 << random.randrange(8)]) + value[place + 1 :]


def _old_epoch(records: list[Record], at: int, random: Random) -> None:
    records.insert(at, random.choice(old_epoch().records))


def _forge(records: list[Record], at: int, random: Random) -> None:
    records.insert(at, random.choice(forged()))


def _mistake(records: list[Record], at: int, random: Random) -> None:
    records.insert(at, random.choice(mistakes()))


def _mislabel(records: list[Record], at: int, random: Random) -> None:
    """Put a record under the key of another, of another model, or of none."""
    keys = (random.choice(records)[0], None, b"phishing", b"clicks|base|1.0|0", b"phishing|base|9.0|0")
    records[at] = random.choice(keys), records[at][1]


def _delete(records: list[Record], at: int, random: Random) -> None:
    records[at] = records[at][0], None


FAULTS: Mapping[str, Fault] = {
    "drop": _drop,
    "repeat": _repeat,
    "swap": _swap,
    "truncate": _truncate,
    "corrupt": _corrupt,
    "old epoch": _old_epoch,
    "forge": _forge,
    "mistake": _mistake,
    "mislabel": _mislabel,
    "delete": _delete,
}


def disturbed(records: list[Record], random: Random) -> list[Record]:
    """Return what arrives of records after up to FAULTS_MAX faults."""
    arriving = list(records)
    for _ in range(random.randint(0, FAULTS_MAX)):
        random.choice(list(FAULTS.values()))(arriving, random.randrange(len(arriving)), random)
    return arriving
