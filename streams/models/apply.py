"""From one version of a model to the next: every check, then an immutable result. What was in use is never touched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Predictor, Tensors
from rheostat.learners.digest import DigestCache
from rheostat.learners.features import batch_from_columns
from rheostat.learners.predictors import NO_MODULES, Modules, predictor
from rheostat.streams.models.delta import all_finite, apply_difference, digest_after, digest_beside
from rheostat.streams.models.manifest import Manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.spares import Spares
from rheostat.streams.models.update import Update
from rheostat.streams.models.version import Version

PROBE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ModelVersion:
    """A version that can serve.

    `digest` was computed from `tensors`, which are read-only; `digests` makes the next one cheap.
    """

    manifest: Manifest
    tensors: Tensors
    predictor: Predictor
    digest: str
    probe_error_max: float
    digests: DigestCache = field(repr=False)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> Version:
        """Its epoch and sequence."""
        return self.manifest.version


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """A version whose tensors are those that were signed for. They are read-only; nothing is known of its scores."""

    manifest: Manifest
    tensors: Tensors
    digest: str
    digests: DigestCache = field(repr=False)


def rebuild(current: Rebuilt | ModelVersion | None, update: Update, spares: Spares | None = None) -> Rebuilt:
    """Return the version after `update`, of any learner; raises Refused, naming the first check that failed.

    A delta must follow the current version without a gap, within its epoch, and name its digest as parent; a base must
    only be newer. Then the digest of the result and finiteness are checked. spares: of this chain of versions.
    """
    manifest = update.manifest
    _check_order(current, manifest)
    tensors = _next_tensors(current, update, spares)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    if current is not None and manifest.kind == "base":
        digest, digests = digest_beside(tensors, current.tensors, current.digests)
    else:
        digest, digests = digest_after(tensors, update.tensors, None if current is None else current.digests)
    if digest != manifest.digest:
        raise Refused(
            "digest", manifest.name, f"the result has digest {digest[:12]}, signed for {manifest.digest[:12]}"
        )
    # What the update did not bring was finite before.
    _check_finite(manifest, update.tensors)
    return Rebuilt(manifest, tensors, digest, digests)


def apply_update(
    current: ModelVersion | None,
    update: Update,
    probe_tolerance: float = PROBE_TOLERANCE,
    modules: Modules = NO_MODULES,
    spares: Spares | None = None,
) -> ModelVersion:
    """Return the version after `update`, ready to serve; raises Refused, naming the first check that failed.

    After the checks of `rebuild` come those of `scored`.
    """
    return scored(rebuild(current, update, spares), probe_tolerance, modules)


def scored(built: Rebuilt, probe_tolerance: float = PROBE_TOLERANCE, modules: Modules = NO_MODULES) -> ModelVersion:
    """Return the version with what scores by its tensors; raises Refused unless it gives golden probes their scores.

    modules: see `predictors.predictor`.
    """
    model = _predictor(built.manifest, built.tensors, modules)
    error = _check_probes(built.manifest, model, probe_tolerance)
    return ModelVersion(built.manifest, built.tensors, model, built.digest, error, built.digests)


def probe_error(manifest: Manifest, model: Predictor) -> float:
    """Return the largest difference between a golden probe's score and the model's; 0 without probes."""
    if not manifest.facts.probes:
        return 0.0
    expected = np.array([probe.score for probe in manifest.facts.probes])
    with np.errstate(all="ignore"):
        scores = model.predict(_probe_batch(manifest))
    return float(np.abs(scores - expected).max())


def _check_order(current: Rebuilt | ModelVersion | None, manifest: Manifest) -> None:
    name, version = manifest.name, manifest.version
    if current is None:
        if manifest.kind == "delta":
            raise Refused("gap", name, "a delta, and there is no version yet; waiting for a base")
        return
    ours = current.manifest
    if version <= ours.version:
        raise Refused("old", name, f"not newer than {ours.version}, which is in use")
    if manifest.kind == "base":
        return
    if version != ours.version.next():
        raise Refused("gap", name, f"a delta, {ours.version} is in use; waiting for the next base")
    if manifest.parent_digest != current.digest:
        raise Refused("parent", name, "a delta for another version than the one in use; waiting for the next base")
    if (manifest.facts.learner, manifest.facts.schema) != (ours.facts.learner, ours.facts.schema):
        raise Refused("manifest", name, "a delta cannot change the learner or the feature set")


def _next_tensors(
    current: Rebuilt | ModelVersion | None, update: Update, spares: Spares | None
) -> dict[str, NDArray[np.generic]]:
    if current is None or update.manifest.kind == "base":
        return dict(update.tensors)
    try:
        return apply_difference(current.tensors, update.tensors, spares)
    except ValueError as error:
        raise Refused("tensors", update.manifest.name, str(error)) from error


def _check_finite(manifest: Manifest, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.inexact) and not all_finite(tensor):
            raise Refused("finite", manifest.name, f"tensor {name!r} holds NaN or infinity")


def _predictor(manifest: Manifest, tensors: Tensors, modules: Modules) -> Predictor:
    try:
        return predictor(manifest.facts.learner, manifest.facts.schema, tensors, copy=False, modules=modules)
    except (ValueError, KeyError, IndexError) as error:
        raise Refused("tensors", manifest.name, f"no {manifest.facts.learner!r} model: {error}") from error


def _check_probes(manifest: Manifest, model: Predictor, tolerance: float) -> float:
    try:
        error = probe_error(manifest, model)
    except (ValueError, IndexError) as reason:
        raise Refused("probes", manifest.name, f"golden inputs do not fit the features: {reason}") from reason
    # Written so that NaN fails too.
    if not error <= tolerance:
        raise Refused("probes", manifest.name, f"golden inputs differ by {error:.3g}, at most {tolerance:.3g}")
    return error


def _probe_batch(manifest: Manifest) -> Batch:
    probes, schema = manifest.facts.probes, manifest.facts.schema
    rows = len(probes)
    numeric = np.array([probe.numeric for probe in probes], dtype=np.float64).reshape(rows, len(schema.numeric))
    columns = [[probe.categorical[index] for probe in probes] for index in range(len(schema.categorical))]
    return batch_from_columns(schema, numeric, columns, np.zeros(rows), np.ones(rows))
