"""Updates as records of `models`: built and signed on one side, put together and verified on the other.

A record holds the signed manifest and one chunk of a tensors file. Nothing in a record is parsed before the signature
over its manifest is verified, and no tensors before all chunks together have the digest that was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rheostat.learners import tensorfile
from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DigestCache, Rows
from rheostat.learners.pieces import Pieces
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.delta import difference, digest_after, same_layout
from rheostat.streams.models.manifest import Facts, Manifest, decode_manifest, encode_manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import MANIFEST_TYPE, KeyRing, Signer
from rheostat.streams.models.version import Version

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

CHUNK_BYTES_MAX = 900_000
# After these a half-received update can no longer be completed.
_BROKEN = ("chunks", "payload", "tensors")


@dataclass(frozen=True, slots=True)
class Published:
    """The version a delta builds on: complete tensors and their digest. The arrays must not change afterwards, except
    those whose touched rows are told with the next update.

    `digests` saves hashing again what a delta leaves as it was; without it the next update hashes everything once.
    """

    digest: str
    tensors: Tensors
    digests: DigestCache | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BuiltUpdate:
    """A signed update: (key, value) records in order, and what the next delta builds on.

    Write the records to the partition of `models` that the model's name hashes to.
    """

    manifest: Manifest
    records: list[tuple[bytes, bytes]]
    published: Published


Judge = Callable[[Facts, Tensors, Tensors], Facts]
"""Given the tensors of a version and those that its update carries, returns what is stated about it."""


def build_update(
    facts: Facts,
    tensors: Tensors,
    parent: Published | None,
    signer: Signer,
    chunk_bytes_max: int = CHUNK_BYTES_MAX,
    touched: Mapping[str, Rows] | None = None,
    judge: Judge | None = None,
) -> BuiltUpdate:
    """Build the update that makes a server's tensors equal `tensors`, and sign it.

    Without `parent` it is a base with all tensors; with one it is a delta, unless names, types or shapes changed. A
    delta is never larger than a base. Every record repeats the manifest and holds at most `chunk_bytes_max` bytes.
    touched: by tensor, all rows that may differ from the parent's; the other tensors are compared with it. judge: has
    the last word on the facts; what it raises comes before anything is signed.
    """
    if parent is not None and not same_layout(tensors, parent.tensors):
        parent = None
    changes = None if parent is None else difference(tensors, parent.tensors, touched)
    if judge is not None:
        facts = judge(facts, tensors, tensors if changes is None else changes)
    digest, digests = digest_after(tensors, changes, None if parent is None else parent.digests)
    published = Published(digest, tensors, digests)
    payload = tensorfile.lay_out(tensors if changes is None else changes)
    manifest = _manifest(facts, payload, published.digest, parent, chunk_bytes_max)
    return BuiltUpdate(manifest, list(UnsentUpdate(manifest, payload, signer, chunk_bytes_max).records()), published)


class UnsentUpdate:
    """A signed update whose records are made as they are taken. Its tensors must not change before the last one is."""

    def __init__(self, manifest: Manifest, payload: tensorfile.Layout, signer: Signer, chunk_bytes_max: int) -> None:
        self.manifest = manifest
        self._payload = payload
        self._chunk_bytes_max = chunk_bytes_max
        body = encode_manifest(manifest)
        self._signed = {"manifest": body, "key_id": signer.key_id, "signature": signer.sign(MANIFEST_TYPE, body)}

    def records(self, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the (key, value) records of chunks [start, end), of all of them without an end."""
        for index in range(start, self.manifest.chunks if end is None else min(end, self.manifest.chunks)):
            at = index * self._chunk_bytes_max
            chunk = self._payload.between(at, at + self._chunk_bytes_max)
            record = {**self._signed, "chunk": index, "tensors": chunk}
            yield self.manifest.key(index), codec.encode_record(catalogue.MODELS, record)


def _manifest(
    facts: Facts, payload: tensorfile.Layout, digest: str, parent: Published | None, chunk_bytes_max: int
) -> Manifest:
    return Manifest(
        facts=facts,
        kind="base" if parent is None else "delta",
        parent_digest=None if parent is None else parent.digest,
        digest=digest,
        payload_digest=payload.sha256(),
        payload_bytes=payload.size,
        chunks=-(-payload.size // chunk_bytes_max),
    )


def key_model(key: bytes | None) -> str | None:
    """Return the model that a record's key names, unverified; None for a key that is not one of `models`."""
    parts = (key or b"").split(b"|")
    return parts[0].decode(errors="replace") if len(parts) == 4 else None


def key_version(key: bytes | None) -> Version:
    """Return the version that a record's key names, unverified; (-1, -1) where it names none."""
    parts = (key or b"").split(b"|")
    try:
        return Version.parse(parts[2].decode()) if len(parts) == 4 else Version(-1, -1)
    except ValueError:
        return Version(-1, -1)


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest update that is accepted; `pending_max` models may have chunks outstanding at once."""

    record_bytes_max: int = 8 << 20
    payload_bytes_max: int = 1 << 30
    chunks_max: int = 4_096
    tensors_max: int = 10_000
    pending_max: int = 64


@dataclass(frozen=True, slots=True)
class Update:
    """A complete update whose signature and payload digest are verified; `tensors` are not yet applied."""

    manifest: Manifest
    tensors: Tensors


_Signed = tuple[bytes, str, bytes]
"""Manifest, key id and signature, which all records of an update have in common."""

_Slot = tuple[str, str]
"""Model and kind, as keys name them: of each at most one update is unfinished."""


@dataclass(slots=True)
class _Pending:
    signed: _Signed
    manifest: Manifest
    payload: Pieces
    digest: Hash = field(default_factory=hashlib.sha256)
    chunks: int = 0

    def refused(self, reason: str) -> Refused:
        return Refused("chunks", self.manifest.name, f"{reason}; {self.chunks} of {self.manifest.chunks} chunks came")


Refuse = Callable[[str | None, Refused], None]
"""Told of everything refused: the model its key names (unverified), and why."""


class UpdateAssembler:
    """Turns records of `models`, in their order, into verified updates.

    Records of different models may be mixed, and so may those of a base and of the deltas after it; else those of one
    update must follow each other. Memory: at most `pending_max` updates of at most `payload_bytes_max` bytes. Bad
    records never raise: they are handed to `refuse`. One that is not properly signed leaves a half-received update
    alone; the next signed chunk 0 starts anew. wanted: asked of each that begins; others are passed over.
    """

    def __init__(
        self,
        keys: KeyRing,
        refuse: Refuse,
        limits: Limits | None = None,
        wanted: Callable[[Manifest], bool] = lambda _: True,
    ) -> None:
        self._keys = keys
        self._refuse = refuse
        self._limits = limits or Limits()
        self._wanted = wanted
        self._pending: dict[_Slot, _Pending] = {}
        self._passed_over: dict[_Slot, _Signed] = {}

    def feed(self, key: bytes | None, value: bytes | None) -> Update | None:
        """Take the next record; return the update it completes."""
        slot = _slot(key)
        try:
            return self._feed(slot, key, value)
        except Refused as refused:
            if refused.check in _BROKEN and slot is not None:
                self._pending.pop(slot, None)
            self._refuse(None if slot is None else slot[0], refused)
            return None

    def end(self) -> None:
        """Give up what is unfinished: there are no more records."""
        for (model, _), pending in self._pending.items():
            self._refuse(model, pending.refused("there are no more records"))
        self._pending.clear()

    def _feed(self, slot: _Slot | None, key: bytes | None, value: bytes | None) -> Update | None:
        if slot is None:
            raise Refused("record", "model update", f"key {(key or b'')[:100]!r} is not model|kind|version|chunk")
        if value is None:
            return None  # A tombstone: an old update was deleted from the topic.
        if len(value) > self._limits.record_bytes_max:
            raise Refused("limits", slot[0], f"record of {len(value)} bytes, at most {self._limits.record_bytes_max}")
        record = _decode(slot[0], value)
        pending, index = self._pending_for(slot, key, record), record["chunk"]
        if pending is None:
            return None
        if index != pending.chunks:
            raise pending.refused(f"chunk {index} came out of order")
        self._add(pending, record["tensors"])
        if pending.chunks < pending.manifest.chunks:
            return None
        del self._pending[slot]
        return _complete(pending, self._limits)

    def _pending_for(self, slot: _Slot, key: bytes | None, record: dict[str, Any]) -> _Pending | None:
        """Return the update that a record goes on with or begins; None for one that is passed over."""
        signed = (record["manifest"], record["key_id"], record["signature"])
        pending, model = self._pending.get(slot), slot[0]
        if pending is not None and pending.signed == signed and record["chunk"] > 0:
            _check_key(pending.manifest, key, record["chunk"])
            return pending
        if record["chunk"] > 0 and self._passed_over.get(slot) == signed:
            return None
        started = self._start(model, key, record["chunk"], signed)
        self._passed_over.pop(slot, None)
        if pending is not None:
            del self._pending[slot]
            self._refuse(model, pending.refused("another update of the model began"))
        if record["chunk"] != 0:
            raise started.refused(f"chunk {record['chunk']} came first")
        if not self._wanted(started.manifest):
            self._passed_over[slot] = signed
            return None
        self._make_room()
        self._pending[slot] = started
        return started

    def _start(self, model: str, key: bytes | None, chunk: int, signed: _Signed) -> _Pending:
        body, key_id, signature = signed
        self._keys.verify(f"update of {model}", MANIFEST_TYPE, body, key_id, signature)
        manifest = decode_manifest(body)
        # The key is not signed: it must be right before an unfinished update is given up for this one.
        _check_key(manifest, key, chunk)
        limits = self._limits
        if manifest.payload_bytes > limits.payload_bytes_max or manifest.chunks > limits.chunks_max:
            reason = f"{manifest.payload_bytes} bytes in {manifest.chunks} chunks"
            allowed = f"at most {limits.payload_bytes_max} in {limits.chunks_max}"
            raise Refused("limits", manifest.name, f"{reason}, {allowed}")
        return _Pending(signed, manifest, Pieces(manifest.payload_bytes))

    def _make_room(self) -> None:
        if len(self._pending) >= self._limits.pending_max:
            oldest = next(iter(self._pending))
            self._refuse(oldest[0], self._pending.pop(oldest).refused("too many other updates began"))

    def _add(self, pending: _Pending, chunk: bytes) -> None:
        pending.chunks += 1
        if len(pending.payload) + len(chunk) > pending.manifest.payload_bytes:
            raise Refused(
                "payload", pending.manifest.name, f"more than the {pending.manifest.payload_bytes} bytes signed for"
            )
        pending.payload.add(chunk)
        pending.digest.update(chunk)


def _slot(key: bytes | None) -> _Slot | None:
    model = key_model(key)
    return None if model is None else (model, (key or b"").split(b"|")[1].decode(errors="replace"))


def _check_key(manifest: Manifest, key: bytes | None, chunk: int) -> None:
    if key != manifest.key(chunk):
        raise Refused("manifest", manifest.name, f"chunk {chunk} came under the key {(key or b'')[:100]!r}")


def _decode(model: str, value: bytes) -> dict[str, Any]:
    try:
        return codec.decode_record(catalogue.MODELS, value)
    except codec.BadRecord as error:
        raise Refused("record", f"update of {model}", str(error)) from error


def _complete(pending: _Pending, limits: Limits) -> Update:
    manifest = pending.manifest
    if pending.digest.hexdigest() != manifest.payload_digest:
        raise Refused("payload", manifest.name, "its bytes do not have the digest that was signed")
    try:
        tensors = tensorfile.load_pieces(pending.payload, limits.payload_bytes_max, limits.tensors_max)
    except ValueError as error:
        raise Refused("tensors", manifest.name, str(error)) from error
    return Update(manifest, tensors)
