"""Updates as records of `models`: built and signed on one side, put together and verified on the other.

A record holds the signed manifest and one chunk of a tensors file. Nothing in a record is parsed before the signature
over its manifest is verified, and no tensors before all chunks together have the digest that was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rheostat.learners import tensorfile
from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DigestCache, Rows
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.delta import difference, digest_after, same_layout
from rheostat.streams.models.manifest import Facts, Manifest, decode_manifest, encode_manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import MANIFEST_TYPE, KeyRing, Signer

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


def build_update(
    facts: Facts,
    tensors: Tensors,
    parent: Published | None,
    signer: Signer,
    chunk_bytes_max: int = CHUNK_BYTES_MAX,
    touched: Mapping[str, Rows] | None = None,
) -> BuiltUpdate:
    """Build the update that makes a server's tensors equal `tensors`, and sign it.

    Without `parent` it is a base with all tensors; with one it is a delta, unless names, types or shapes changed. A
    delta is never larger than a base. Every record repeats the manifest and holds at most `chunk_bytes_max` bytes.
    touched: by tensor, all rows that may differ from the parent's; the other tensors are compared with it.
    """
    if parent is not None and not same_layout(tensors, parent.tensors):
        parent = None
    changes = None if parent is None else difference(tensors, parent.tensors, touched)
    digest, digests = digest_after(tensors, changes, None if parent is None else parent.digests)
    published = Published(digest, tensors, digests)
    payload = tensorfile.dump(tensors if changes is None else changes)
    chunks = [payload[at : at + chunk_bytes_max] for at in range(0, len(payload), chunk_bytes_max)]
    manifest = Manifest(
        facts=facts,
        kind="base" if parent is None else "delta",
        parent_digest=None if parent is None else parent.digest,
        digest=published.digest,
        payload_digest=hashlib.sha256(payload).hexdigest(),
        payload_bytes=len(payload),
        chunks=len(chunks),
    )
    return BuiltUpdate(manifest, _records(manifest, chunks, signer), published)


def _records(manifest: Manifest, chunks: list[bytes], signer: Signer) -> list[tuple[bytes, bytes]]:
    body = encode_manifest(manifest)
    common = {"manifest": body, "key_id": signer.key_id, "signature": signer.sign(MANIFEST_TYPE, body)}
    return [
        (
            manifest.key(index),
            codec.encode_record(catalogue.MODELS, {**common, "chunk": index, "tensors": chunk}),
        )
        for index, chunk in enumerate(chunks)
    ]


def key_model(key: bytes | None) -> str | None:
    """Return the model that a record's key names, unverified; None for a key that is not one of `models`."""
    parts = (key or b"").split(b"|")
    return parts[0].decode(errors="replace") if len(parts) == 4 else None


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


@dataclass(slots=True)
class _Pending:
    signed: tuple[bytes, str, bytes]
    manifest: Manifest
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def refused(self, reason: str) -> Refused:
        return Refused(
            "chunks", self.manifest.name, f"{reason}; {len(self.chunks)} of {self.manifest.chunks} chunks came"
        )


Refuse = Callable[[str | None, Refused], None]
"""Told of everything refused: the model its key names (unverified), and why."""


class UpdateAssembler:
    """Turns records of `models`, in their order, into verified updates.

    Records of different models may be mixed; those of one update must follow each other. Memory: at most `pending_max`
    updates of at most `payload_bytes_max` bytes. Bad records never raise: they are handed to `refuse`. One that is not
    properly signed leaves a half-received update alone; the next signed chunk 0 starts anew.
    """

    def __init__(self, keys: KeyRing, refuse: Refuse, limits: Limits | None = None) -> None:
        self._keys = keys
        self._refuse = refuse
        self._limits = limits or Limits()
        self._pending: dict[str, _Pending] = {}

    def feed(self, key: bytes | None, value: bytes | None) -> Update | None:
        """Take the next record; return the update it completes."""
        model = key_model(key)
        try:
            return self._feed(model, key, value)
        except Refused as refused:
            if refused.check in _BROKEN:
                self._pending.pop(model or "", None)
            self._refuse(model, refused)
            return None

    def end(self) -> None:
        """Give up what is unfinished: there are no more records."""
        for model, pending in self._pending.items():
            self._refuse(model, pending.refused("there are no more records"))
        self._pending.clear()

    def _feed(self, model: str | None, key: bytes | None, value: bytes | None) -> Update | None:
        if model is None:
            raise Refused("record", "model update", f"key {(key or b'')[:100]!r} is not model|kind|version|chunk")
        if value is None:
            return None  # A tombstone: an old update was deleted from the topic.
        if len(value) > self._limits.record_bytes_max:
            raise Refused("limits", model, f"record of {len(value)} bytes, at most {self._limits.record_bytes_max}")
        record = _decode(model, value)
        pending = self._pending_for(model, key, record)
        index = record["chunk"]
        if index != len(pending.chunks):
            raise pending.refused(f"chunk {index} came out of order")
        self._add(pending, record["tensors"])
        if len(pending.chunks) < pending.manifest.chunks:
            return None
        del self._pending[model]
        return _complete(pending, self._limits)

    def _pending_for(self, model: str, key: bytes | None, record: dict[str, Any]) -> _Pending:
        signed = (record["manifest"], record["key_id"], record["signature"])
        pending = self._pending.get(model)
        if pending is not None and pending.signed == signed and record["chunk"] > 0:
            _check_key(pending.manifest, key, record["chunk"])
            return pending
        started = self._start(model, key, record["chunk"], signed)
        if pending is not None:
            del self._pending[model]
            self._refuse(model, pending.refused("another update of the model began"))
        if record["chunk"] != 0:
            raise started.refused(f"chunk {record['chunk']} came first")
        self._make_room()
        self._pending[model] = started
        return started

    def _start(self, model: str, key: bytes | None, chunk: int, signed: tuple[bytes, str, bytes]) -> _Pending:
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
        return _Pending(signed, manifest)

    def _make_room(self) -> None:
        if len(self._pending) >= self._limits.pending_max:
            oldest = next(iter(self._pending))
            self._refuse(oldest, self._pending.pop(oldest).refused("too many other updates began"))

    def _add(self, pending: _Pending, chunk: bytes) -> None:
        pending.chunks.append(chunk)
        pending.size += len(chunk)
        if pending.size > pending.manifest.payload_bytes:
            raise Refused(
                "payload", pending.manifest.name, f"more than the {pending.manifest.payload_bytes} bytes signed for"
            )


def _check_key(manifest: Manifest, key: bytes | None, chunk: int) -> None:
    if key != manifest.key(chunk):
        raise Refused("manifest", manifest.name, f"chunk {chunk} came under the key {(key or b'')[:100]!r}")


def _decode(model: str, value: bytes) -> dict[str, Any]:
    try:
        return codec.decode_record(catalogue.MODELS, value)
    except codec.BadRecord as error:
        raise Refused("record", f"update of {model}", str(error)) from error


def _complete(pending: _Pending, limits: Limits) -> Update:
    manifest, payload = pending.manifest, b"".join(pending.chunks)
    if hashlib.sha256(payload).hexdigest() != manifest.payload_digest:
        raise Refused("payload", manifest.name, "its bytes do not have the digest that was signed")
    try:
        tensors = tensorfile.load(payload, limits.payload_bytes_max, limits.tensors_max)
    except ValueError as error:
        raise Refused("tensors", manifest.name, str(error)) from error
    return Update(manifest, tensors)
