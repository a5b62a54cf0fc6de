"""One process of the law of memory: tells a large model, or follows it, and says how much memory that took at most.

`python -m tests.support.large_model_memory tell|in-step|with-a-gap FOLDER`; bytes, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from rheostat.learners.contract import Batch
from rheostat.learners.digest import tensors_digest
from rheostat.streams.bench.large_model import SCHEMA, WIDTH
from rheostat.streams.bench.wide_table import WideTable
from rheostat.streams.models.apply import PROBE_TOLERANCE
from rheostat.streams.models.base_parts import BaseInParts
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import generate_signer, load_key_ring, save_signer
from rheostat.streams.models.update import CHUNK_BYTES_MAX, Published, UpdateAssembler, build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.kept import KeptVersions
from rheostat.streams.serving.lineage import Lineage

ROWS = 1_000_000
AGAIN, LAST = 5, 8
"""Version told by a base again, and the last version."""

Record = tuple[bytes, bytes]


class Peak:
    """How much more memory than now this process has at most, as the system counts it."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._start = _status("VmRSS")

    def bytes(self) -> int:
        return _status("VmHWM") - self._start


def _status(name: str) -> int:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def tell(folder: Path) -> dict[str, int]:
    """Write version 0 as a base, then deltas, and version AGAIN as a base in parts besides."""
    peak, signer = Peak(), generate_signer("learner")
    save_signer(signer, folder)
    learner = WideTable(SCHEMA, ROWS, WIDTH)
    parent: Published | None = None
    for sequence in range(LAST + 1):
        learner.learn(_a_batch(sequence))
        facts = Facts("wide", Version(0, sequence), learner.kind, SCHEMA, published_at_ms=sequence)
        built = build_update(facts, learner.parameters(), parent, signer, touched=learner.touched_rows())
        _write(folder / f"{sequence}.{built.manifest.kind}", built.records)
        parent, manifest = built.published, built.manifest
        del built
        if sequence == AGAIN:
            base = BaseInParts(manifest, learner.parameters(), signer, CHUNK_BYTES_MAX, 4 << 20)
            _write(folder / f"{sequence}.base", _parts(base))
            del base
    return {"model": sum(tensor.nbytes for tensor in learner.parameters().values()), "peak": peak.bytes()}


def follow(folder: Path, missing: int | None) -> dict[str, int]:
    """Follow what was told, with or without one of the deltas."""
    refused: list[str] = []
    lineage = Lineage("wide", KeptVersions(2, 0), PROBE_TOLERANCE)
    ring = load_key_ring(folder)
    assembler = UpdateAssembler(ring, lambda _, why: refused.append(why.check), wanted=lineage.wants)
    serving: Scorer | None = None
    peak = Peak()
    for sequence in range(LAST + 1):
        for kind in ("delta", "base"):
            if sequence == missing:
                continue
            for record in _read(folder / f"{sequence}.{kind}"):
                update = assembler.feed(*record)
                if update is None:
                    continue
                try:
                    version = lineage.apply(update)
                except Refused as why:
                    refused.append(why.check)
                else:
                    # As a server does: the version before is in use until then.
                    serving = Scorer(version)
                    del version
                del update
    found = peak.bytes()
    assert serving is not None
    assert serving.version.version == Version(0, LAST)
    assert tensors_digest(serving.version.tensors) == serving.version.digest
    return {"refused": len(refused), "peak": found}


def _a_batch(seed: int, rows: int = 500) -> Batch:
    random = np.random.default_rng(seed)
    ids = random.integers(1, ROWS, (rows, 1)).astype(np.uint64)
    return Batch(SCHEMA.id, random.normal(size=(rows, 2)), ids, np.ones(rows), np.ones(rows))


def _parts(base: BaseInParts) -> Iterator[Record]:
    while not base.done:
        yield from base.part()


def _write(path: Path, records: Iterable[Record]) -> None:
    with path.open("wb") as file:
        for record in records:
            for part in record:
                file.write(len(part).to_bytes(4, "little") + part)


def _read(path: Path) -> Iterator[Record]:
    if path.exists():
        with path.open("rb") as file:
            while head := file.read(4):
                key = file.read(int.from_bytes(head, "little"))
                yield key, file.read(int.from_bytes(file.read(4), "little"))


if __name__ == "__main__":
    role, where = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(tell(where) if role == "tell" else follow(where, 2 if role == "with-a-gap" else None)))
