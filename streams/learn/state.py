"""Full learner state as records of `models.state`: what a restart or a rollback goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rheostat.learners import tensorfile
from rheostat.learners.contract import Snapshot
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from rheostat.streams.errors import Corrupt
from rheostat.streams.models.version import Version

STATE_BYTES_MAX = 4 << 30
STATE_TENSORS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SavedState:
    """A learner's state as of one version; `offsets` are the next examples to learn, by partition."""

    model: str
    version: Version
    snapshot: Snapshot
    offsets: Mapping[int, int]


def state_records(state: SavedState, chunk_bytes_max: int) -> list[tuple[bytes, bytes]]:
    """Encode a state as (key, value) records of `models.state`."""
    payload = tensorfile.lay_out(state.snapshot.tensors)
    starts, digest = range(0, payload.size, chunk_bytes_max), payload.sha256()
    offsets = [{"partition": number, "offset": at} for number, at in sorted(state.offsets.items())]
    return [
        (
            f"{state.model}|{state.version}|{index}".encode(),
            codec.encode_record(
                catalogue.MODELS_STATE,
                {
                    "model": state.model,
                    "epoch": state.version.epoch,
                    "sequence": state.version.sequence,
                    "kind": state.snapshot.kind,
                    "schema_id": state.snapshot.schema_id,
                    "offsets": offsets,
                    "digest": digest,
                    "chunk": index,
                    "chunks": len(starts),
                    "tensors": payload.between(at, at + chunk_bytes_max),
                },
            ),
        )
        for index, at in enumerate(starts)
    ]


def read_state(blocks: Iterable[Block], model: str, version: Version) -> SavedState:
    """Return the state saved with exactly this version, reading no further than its last chunk.

    Raises Corrupt when chunks are missing or the bytes do not have the digest they were saved with.
    """
    parts: dict[int, dict[str, Any]] = {}
    for block in blocks:
        for value in block.values:
            if value is None:
                continue
            record = codec.decode_record(catalogue.MODELS_STATE, value)
            if record["model"] == model and Version(record["epoch"], record["sequence"]) == version:
                parts[record["chunk"]] = record
                if len(parts) == record["chunks"]:
                    return _assemble(model, version, parts)
    raise Corrupt(f"state of {model} {version}", f"{len(parts)} chunks are in the log, which are not all of them")


def _assemble(model: str, version: Version, parts: Mapping[int, Mapping[str, Any]]) -> SavedState:
    first = parts[0]
    payload = b"".join(parts[index]["tensors"] for index in range(len(parts)))
    if hashlib.sha256(payload).hexdigest() != first["digest"]:
        raise Corrupt(f"state of {model} {version}", "its bytes do not have the digest they were saved with")
    tensors = tensorfile.load(payload, STATE_BYTES_MAX, STATE_TENSORS_MAX)
    snapshot = Snapshot(first["kind"], first["schema_id"], tensors)
    return SavedState(model, version, snapshot, {each["partition"]: each["offset"] for each in first["offsets"]})
