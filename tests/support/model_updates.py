"""Updates that are the same on every machine: keys from fixed seeds, tensors without chance or rounding."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from rheostat.learners import tensorfile
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import batch_from_columns
from rheostat.learners.predictors import predictor
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.manifest import Facts, Manifest, Mode, Probe, TrainingRange, encode_manifest
from rheostat.streams.models.signing import MANIFEST_TYPE, Signer
from rheostat.streams.models.update import CHUNK_BYTES_MAX, Published, build_update
from rheostat.streams.models.version import Version

Arrays = dict[str, NDArray[np.generic]]
Record = tuple[bytes | None, bytes | None]
T0_MS = 1_760_000_000_000
SCHEMA = FeatureSchema("sites@1", ("url_length", "age_days"), ("tld",))
BINS = 4
BEFORE_THE_FIRST = Version(0, -1)
INPUTS = (((12.0, 3.0), ("com",)), ((80.0, -0.5), ("",)), ((0.0, 1e6), ("café",)))


def fixed_signer(key_id: str, seed: str = "") -> Signer:
    """The key that belongs to an id; another one for each seed."""
    return Signer(key_id, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{key_id} {seed}".encode()).digest()))


LEARNER = fixed_signer("learner-1")


def ramp(dtype: Any, *shape: int, start: int = 0) -> NDArray[Any]:
    """Values that every dtype has exactly: multiples of 1/8 from -2 to 2, or their whole parts without sign."""
    values = (np.arange(start, start + int(np.prod(shape))) * 5 % 33 - 16) / 8
    whole = not np.issubdtype(dtype, np.floating)
    return (np.abs(values).astype(np.int64) if whole else values).astype(dtype).reshape(shape)


def linear_tensors() -> Arrays:
    columns = len(SCHEMA.numeric) + BINS * len(SCHEMA.categorical)
    return {
        "bins": np.array([BINS], np.uint64),
        "weights": ramp(np.float64, columns),
        "intercept": np.array([-0.25]),
        "scale.mean": ramp(np.float64, columns, start=2),
        "scale.factor": np.abs(ramp(np.float64, columns, start=1)),
        "scale.options": np.array([1.0, 10.0]),
    }


def hashed_tensors(rows: int = 64, width: int = 4, units: int = 3) -> Arrays:
    inputs = len(SCHEMA.numeric) + width * len(SCHEMA.categorical)
    return {
        "table": ramp(np.float32, rows, width),
        "hidden.weight": ramp(np.float32, inputs, units, start=3),
        "hidden.bias": ramp(np.float32, units, start=2),
        "output.weight": ramp(np.float32, units, start=5),
        "output.bias": ramp(np.float32, 1, start=7),
        "scale.mean": ramp(np.float64, len(SCHEMA.numeric)),
        "scale.factor": np.ones(len(SCHEMA.numeric)),
        "scale.options": np.array([0.0, 2.0]),
    }


def scores_of(kind: str, schema: FeatureSchema, tensors: Arrays, inputs: Any, digits: int) -> list[float]:
    """What a model scores, rounded: the last digits depend on the machine."""
    columns = [[texts[index] for _, texts in inputs] for index in range(len(schema.categorical))]
    batch = batch_from_columns(schema, [numbers for numbers, _ in inputs], columns)
    return [round(score, digits) for score in predictor(kind, schema, tensors).predict(batch).tolist()]


@dataclass
class Author:
    """A learner's side: it changes tensors and publishes what became of them."""

    model: str = "sites"
    kind: str = "linear/1"
    tensors: Arrays = field(default_factory=linear_tensors)
    signer: Signer = LEARNER
    chunk_bytes_max: int = CHUNK_BYTES_MAX
    version: Version = BEFORE_THE_FIRST
    parent: Published | None = None
    mode: Mode = "online"
    withheld: tuple[str, ...] = ()

    def base(self, version: Version | None = None) -> list[Record]:
        """The next version, or this one, as a base."""
        self.parent = None
        return self._publish(version, self.probes())

    def delta(self) -> list[Record]:
        """The next version as a delta."""
        return self._publish(None, ())

    def set(self, name: str, *rows: int, by: float = 0.5) -> None:
        """Add `by` to these rows of a tensor, or to all of it."""
        tensor: NDArray[Any] = self.tensors[name].copy()
        tensor[list(rows) if rows else ...] += tensor.dtype.type(by)
        self.tensors = {**self.tensors, name: tensor}

    def probes(self) -> tuple[Probe, ...]:
        """Golden inputs with the scores that they get."""
        scores = scores_of(self.kind, SCHEMA, self.tensors, INPUTS, 9)
        return tuple(Probe(*given, score) for given, score in zip(INPUTS, scores, strict=True))

    def facts(self, version: Version, probes: tuple[Probe, ...] = ()) -> Facts:
        """What its manifests say besides."""
        return Facts(
            model=self.model,
            version=version,
            learner=self.kind,
            schema=SCHEMA,
            published_at_ms=T0_MS + version.sequence,
            offsets={0: 10 * version.sequence, 1: 7},
            training=(TrainingRange(0, 0, 10, 9), TrainingRange(1, 3, 7, 4, learned=False)),
            examples_total=10 * version.sequence,
            metrics={"brier": 0.25},
            libraries={"numpy": "2", "river": "0.26"},
            probes=probes,
            mode=self.mode,
            withheld=self.withheld,
        )

    def _publish(self, version: Version | None, probes: tuple[Probe, ...]) -> list[Record]:
        self.version = version or self.version.next()
        facts = self.facts(self.version, probes)
        built = build_update(facts, self.tensors, self.parent, self.signer, self.chunk_bytes_max)
        self.parent = built.published
        return [*built.records]


def record(key: bytes | None, body: bytes, chunk: int, tensors: bytes, signer: Signer, signed: bytes) -> Record:
    """A record with whatever is wanted in it."""
    fields = {"manifest": body, "key_id": signer.key_id, "signature": signed, "chunk": chunk, "tensors": tensors}
    return key, codec.encode_record(catalogue.MODELS, fields)


def signed_as_is(
    facts: Facts, payload: bytes | Arrays, after: Arrays, signer: Signer = LEARNER, **other: Any
) -> Record:
    """One record with a properly signed manifest that says of a payload whatever is wanted."""
    data = payload if isinstance(payload, bytes) else tensorfile.dump(payload)
    manifest = Manifest(
        facts, "base", None, tensors_digest(after), hashlib.sha256(data).hexdigest(), len(data), chunks=1
    )
    manifest = dataclasses.replace(manifest, **other)
    body = encode_manifest(manifest)
    return record(manifest.key(0), body, 0, data, signer, signer.sign(MANIFEST_TYPE, body))
