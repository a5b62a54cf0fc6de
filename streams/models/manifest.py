"""What one update is and what it was learned from: the signed part of every record of `models`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.version import Version

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Mode = Literal["online", "apprentice", "log-only"]
"""online: servers answer with what was learned. apprentice: they answer as they did before, or by default, and log
what they would have answered. log-only: nothing is learned; they answer as in `apprentice`."""

MODES: tuple[Mode, ...] = get_args(Mode)
GATE_CHECKS = ("magnitude", "probes", "golden", "worse")
"""Why the publication gate withholds a version, see `streams.learn.gate`."""


@dataclass(frozen=True, slots=True)
class TrainingRange:
    """Examples in [start, end) of a partition, `count` records; learned: False means tested only."""

    partition: int
    start: int
    end: int
    count: int
    learned: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """A golden input with the score the learner gives it."""

    numeric: tuple[float, ...]
    categorical: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What the learner states about a version.

    `learner`: class and parameter layout ("linear/1"). `offsets`: next example to learn, by partition. `training`: what
    this update learned, in order. `examples_total`: learned since the model was made, less those taken back.
    `withheld`: why servers take the version and do not answer with it: its mode, and checks of the publication gate.
    """

    model: str
    version: Version
    learner: str
    schema: FeatureSchema
    published_at_ms: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    training: tuple[TrainingRange, ...] = ()
    examples_total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    command_id: str | None = None
    mode: Mode = "online"
    withheld: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _MODEL_NAME.fullmatch(self.model):
            raise ValueError(f"model: {self.model!r} is not 1 to 63 letters, digits, '.', '_' or '-'")
        if min(self.version) < 0:
            raise ValueError(f"version: {self.version} is negative")
        if self.mode not in MODES:
            raise ValueError(f"mode: {self.mode!r} is not one of {', '.join(MODES)}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts, and digests (SHA-256, hex) that bind them to tensors.

    `digest` is that of the complete tensors after the update, `parent_digest` that of the version a delta applies to.
    """

    facts: Facts
    kind: Literal["base", "delta"]
    parent_digest: str | None
    digest: str
    payload_digest: str
    payload_bytes: int
    chunks: int

    def __post_init__(self) -> None:
        if (self.parent_digest is None) != (self.kind == "base"):
            raise ValueError(f"parent_digest: a {self.kind} {'has none' if self.kind == 'base' else 'needs one'}")
        if not all(
            _DIGEST.fullmatch(each) for each in (self.digest, self.payload_digest, self.parent_digest or self.digest)
        ):
            raise ValueError("digest: 64 hexadecimal digits")
        if self.chunks < 1 or self.payload_bytes < 1:
            raise ValueError("chunks and payload_bytes must be at least 1")

    @property
    def model(self) -> str:
        """The model's name."""
        return self.facts.model

    @property
    def version(self) -> Version:
        """The version after this update."""
        return self.facts.version

    @property
    def name(self) -> str:
        """Words for messages: "phishing 2.15 (delta)"."""
        return f"{self.model} {self.version} ({self.kind})"

    def key(self, chunk: int) -> bytes:
        """Return the key of the record with this chunk. Its partition follows the model's name, not this key."""
        return f"{self.model}|{self.kind}|{self.version}|{chunk}".encode()


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the Avro body that is signed."""
    facts = manifest.facts
    return codec.encode_body(
        catalogue.MANIFEST,
        {
            "model": facts.model,
            "epoch": facts.version.epoch,
            "sequence": facts.version.sequence,
            "kind": manifest.kind,
            "learner": facts.learner,
            "feature_set": facts.schema.id,
            "numeric": list(facts.schema.numeric),
            "categorical": list(facts.schema.categorical),
            "actions": list(facts.schema.actions),
            "training_only": [
                {"name": name, "number": 0.0, "text": value}
                if isinstance(value, str)
                else {"name": name, "number": value, "text": ""}
                for name, value in facts.schema.training_only
            ],
            "parent_digest": manifest.parent_digest,
            "digest": manifest.digest,
            "payload_digest": manifest.payload_digest,
            "payload_bytes": manifest.payload_bytes,
            "chunks": manifest.chunks,
            "offsets": [{"partition": number, "offset": at} for number, at in sorted(facts.offsets.items())],
            "training": [
                {
                    "partition": each.partition,
                    "start": each.start,
                    "end": each.end,
                    "count": each.count,
                    "learned": each.learned,
                }
                for each in facts.training
            ],
            "examples_total": facts.examples_total,
            "metrics": dict(facts.metrics),
            "libraries": dict(facts.libraries),
            "probes": [
                {"numeric": list(each.numeric), "categorical": list(each.categorical), "score": each.score}
                for each in facts.probes
            ],
            "published_at": facts.published_at_ms,
            "command_id": facts.command_id,
            "mode": facts.mode,
            "withheld": list(facts.withheld),
        },
    )


def decode_manifest(body: bytes) -> Manifest:
    """Return the manifest in a verified body; raises Refused when its fields contradict each other."""
    try:
        return _from_record(codec.decode_body(catalogue.MANIFEST, body))
    except (codec.BadRecord, ValueError) as error:
        raise Refused("manifest", "manifest", str(error)) from error


def _from_record(record: Mapping[str, Any]) -> Manifest:
    return Manifest(
        facts=_facts(record),
        kind=record["kind"],
        parent_digest=record["parent_digest"],
        digest=record["digest"],
        payload_digest=record["payload_digest"],
        payload_bytes=record["payload_bytes"],
        chunks=record["chunks"],
    )


def _facts(record: Mapping[str, Any]) -> Facts:
    return Facts(
        model=record["model"],
        version=Version(record["epoch"], record["sequence"]),
        learner=record["learner"],
        schema=_schema(record),
        published_at_ms=record["published_at"],
        offsets={each["partition"]: each["offset"] for each in record["offsets"]},
        training=tuple(TrainingRange(**each) for each in record["training"]),
        examples_total=record["examples_total"],
        metrics=record["metrics"],
        libraries=record["libraries"],
        probes=tuple(
            Probe(tuple(each["numeric"]), tuple(each["categorical"]), each["score"]) for each in record["probes"]
        ),
        command_id=record["command_id"],
        mode=record["mode"],
        withheld=tuple(record["withheld"]),
    )


def _schema(record: Mapping[str, Any]) -> FeatureSchema:
    numeric, categorical = tuple(record["numeric"]), tuple(record["categorical"])
    neutral = tuple(
        (each["name"], each["number"] if each["name"] in numeric else each["text"]) for each in record["training_only"]
    )
    return FeatureSchema(record["feature_set"], numeric, categorical, tuple(record["actions"]), neutral)
