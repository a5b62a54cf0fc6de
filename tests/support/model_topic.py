"""A small learner's side of the model topic: versions of a linear or hashed model, signed and built as updates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.learners.predictors import predictor
from rheostat.streams.models.manifest import Facts, Mode, Probe
from rheostat.streams.models.signing import Signer, generate_signer
from rheostat.streams.models.update import BuiltUpdate, Published, build_update
from rheostat.streams.models.version import Version

Arrays = dict[str, NDArray[np.generic]]
SCHEMA = FeatureSchema("phishing@1", ("url_length", "age_days"), ("tld",))
BINS = 4
LEARNER = generate_signer("learner-1")


def linear_tensors(seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    columns = len(SCHEMA.numeric) + BINS * len(SCHEMA.categorical)
    return {
        "bins": np.array([BINS], dtype=np.uint64),
        "weights": random.normal(size=columns),
        "intercept": random.normal(size=1),
        "scale.mean": np.zeros(columns),
        "scale.factor": np.ones(columns),
        "scale.options": np.array([0.0, 10.0]),
    }


def hashed_tensors(rows: int, seed: int = 0, width: int = 4) -> Arrays:
    random = np.random.default_rng(seed)
    inputs = len(SCHEMA.numeric) + width * len(SCHEMA.categorical)
    return {
        "table": random.normal(size=(rows, width)).astype(np.float32),
        "hidden.weight": random.normal(size=(inputs, 8)).astype(np.float32),
        "hidden.bias": np.zeros(8, dtype=np.float32),
        "output.weight": random.normal(size=8).astype(np.float32),
        "output.bias": np.zeros(1, dtype=np.float32),
        "scale.mean": np.zeros(len(SCHEMA.numeric)),
        "scale.factor": np.ones(len(SCHEMA.numeric)),
        "scale.options": np.array([0.0, 10.0]),
    }


def probes_for(kind: str, tensors: Arrays) -> tuple[Probe, ...]:
    inputs = (((12.0, 3.0), ("com",)), ((80.0, 0.5), ("",)))
    batch = batch_from_columns(SCHEMA, [numeric for numeric, _ in inputs], [[names[0] for _, names in inputs]])
    scores = predictor(kind, SCHEMA, tensors).predict(batch)
    return tuple(Probe(*each, float(score)) for each, score in zip(inputs, scores, strict=True))


@dataclass
class Publisher:
    """Publishes versions of one model in order; `digests` are those of everything it ever published."""

    model: str = "phishing"
    kind: str = "linear/1"
    signer: Signer = LEARNER
    tensors: Arrays = field(default_factory=linear_tensors)
    version: Version | None = None
    chunk_bytes_max: int = 900_000
    digests: dict[str, Version] = field(default_factory=dict)
    _parent: Published | None = None

    def publish(
        self,
        *,
        base: bool,
        epoch: int | None = None,
        probes: tuple[Probe, ...] | None = None,
        at_ms: int = 1_760_000_000_000,
        command_id: str | None = None,
        mode: Mode = "online",
        withheld: tuple[str, ...] = (),
    ) -> BuiltUpdate:
        last = self.version or Version(1, -1)
        self.version = last.next() if epoch in (None, last.epoch) else Version(epoch or 0, 0)
        facts = Facts(
            model=self.model,
            version=self.version,
            learner=self.kind,
            schema=SCHEMA,
            published_at_ms=at_ms,
            probes=probes_for(self.kind, self.tensors) if probes is None else probes,
            command_id=command_id,
            mode=mode,
            withheld=withheld,
        )
        parent = None if base else self._parent
        built = build_update(facts, self.tensors, parent, self.signer, self.chunk_bytes_max)
        self._parent = built.published
        self.digests[built.manifest.digest] = self.version
        return built

    def learn(self, **change: NDArray[np.generic]) -> None:
        """Take over new arrays; those of published versions stay as they are."""
        self.tensors = {**self.tensors, **change}

    def nudge(self, seed: int) -> None:
        """Change some of a linear model's weights."""
        weights = self.tensors["weights"].astype(np.float64)
        weights[seed % len(weights)] += 0.125
        self.learn(weights=weights)
