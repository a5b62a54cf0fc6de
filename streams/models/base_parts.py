"""A large base beside the deltas: told in parts, of which each transaction carries one, while the learner goes on.

Version v of a large model is told twice: by a delta, at once, for whoever has v - 1, and by a base, whose parts go out
with the transactions that follow, between the deltas v + 1, v + 2 and so on. Whoever has nothing yet takes the base
when it is complete, and then those deltas. Only whole updates count: if the learner ends before the last part, another
base begins after its restart.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from rheostat.learners import tensorfile
from rheostat.learners.contract import Tensors
from rheostat.streams.models.manifest import Manifest
from rheostat.streams.models.signing import Signer
from rheostat.streams.models.update import UnsentUpdate

HASHED_PER_SENT = 16
"""Bytes are hashed before the first is sent, as every record says the digest of all; so many times as fast."""


class BaseInParts:
    """The base of the version that a delta has told. It has copies of the tensors, which go on changing."""

    def __init__(
        self, delta: Manifest, tensors: Tensors, signer: Signer, chunk_bytes_max: int, part_bytes_max: int
    ) -> None:
        self._delta = delta
        self._signer = signer
        self._chunk_bytes_max = chunk_bytes_max
        self._part_chunks = max(1, part_bytes_max // chunk_bytes_max)
        self._payload = tensorfile.lay_out({name: tensor.copy() for name, tensor in tensors.items()})
        self._hash = hashlib.sha256()
        self._hashed = self._sent = 0
        self._update: UnsentUpdate | None = None

    @property
    def done(self) -> bool:
        """Whether its last part was taken."""
        return self._update is not None and self._sent >= self._update.manifest.chunks

    def part(self) -> list[tuple[bytes, bytes]]:
        """Return the next (key, value) records; none while it is hashed."""
        if self._update is None:
            self._prepare()
            return []
        start, self._sent = self._sent, self._sent + self._part_chunks
        return list(self._update.records(start, self._sent))

    def _prepare(self) -> None:
        step = HASHED_PER_SENT * self._part_chunks * self._chunk_bytes_max
        for part in self._payload.views(self._hashed, self._hashed + step):
            self._hash.update(part)
        self._hashed += step
        if self._hashed < self._payload.size:
            return
        facts = replace(self._delta.facts, training=())
        manifest = Manifest(
            facts=facts,
            kind="base",
            parent_digest=None,
            digest=self._delta.digest,
            payload_digest=self._hash.hexdigest(),
            payload_bytes=self._payload.size,
            chunks=-(-self._payload.size // self._chunk_bytes_max),
        )
        self._update = UnsentUpdate(manifest, self._payload, self._signer, self._chunk_bytes_max)
