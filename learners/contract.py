"""What a learner is: it learns from batches, predicts for batches, and its whole state is named tensors.

No Kafka, no clock and no files in this package. Arrays are numpy; a batch is columnar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The inputs of a model, in order.

    `id` names and versions the set ("phishing@1"); a learner refuses a batch or a snapshot of another id.
    `numeric` names the columns of `Batch.numeric`; `categorical` those of `Batch.categorical`. `actions` are what can
    be chosen, in the order in which a learner with one output for each counts them; none where nothing is chosen.
    `training_only`: features that are learned but not scored with, such as the position at which something stood, each
    with the value that it has in every score: a number or, where it is categorical, a text. ValueError for others.
    """

    id: str
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    training_only: tuple[tuple[str, float | str], ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.training_only:
            if name not in (self.categorical if isinstance(value, str) else self.numeric):
                kind = "categorical" if isinstance(value, str) else "numeric"
                raise ValueError(f"training_only: {name!r} has the value {value!r} and is not a {kind} feature")
            if not isinstance(value, str) and not math.isfinite(value):
                raise ValueError(f"training_only: the value of {name!r} must be finite, got {value}")


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounded the rows of a batch, beyond what predicts; one entry a row.

    action: int64, the place in `FeatureSchema.actions` of what was chosen, -1 for none. propensity: float64 in (0, 1],
    the probability with which it was chosen; NaN where it was not logged. occurred_at_ms: int64, when the label was
    given, epoch ms. stratum: uint64, hash of the segment, 0 for none.
    """

    action: NDArray[np.int64]
    propensity: Floats
    occurred_at_ms: NDArray[np.int64]
    stratum: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from or to predict for.

    numeric: float64 (rows, len(schema.numeric)), finite. categorical: uint64 hashes (rows, len(schema.categorical)),
    0 for a missing value. label: float64 (rows,) in [0, 1]; weight: float64 (rows,) >= 0, 0 means "not seen".
    For prediction `label` and `weight` are ignored. `context` is there where the learner says `needs_context` (see
    `NeedsContext`), and may be there otherwise.
    """

    schema_id: str
    numeric: Floats
    categorical: NDArray[np.uint64]
    label: Floats
    weight: Floats
    context: Context | None = None

    def __len__(self) -> int:
        return int(self.numeric.shape[0])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The full state of a learner: restoring it must continue exactly where it was taken.

    `kind` names the learner class and its state layout ("linear/1"); `tensors` hold everything else.
    """

    kind: str
    schema_id: str
    tensors: Tensors


class Predictor(Protocol):
    """The part of a model that serving needs; made from `Learner.parameters()` alone, without River or torch."""

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        ...


@runtime_checkable
class PredictsOne(Protocol):
    """What a predictor that is faster with one row than a batch of one would be does besides."""

    def predict_one(self, numeric: Sequence[float], categorical: Sequence[int]) -> float:
        """Return what `predict` gives for one row of finite numbers and hashes (0 for a missing one), to rounding."""
        ...


class Learner(Protocol):
    """A model that learns incrementally and deterministically."""

    @property
    def kind(self) -> str:
        """Class and layout of the parameters, as in `Snapshot.kind`."""
        ...

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        ...

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order. Rows may be buffered until a micro-batch is full or `flush` is called."""
        ...

    def flush(self) -> None:
        """Learn from whatever is buffered; called before `parameters` and `snapshot`, and recorded as a cut."""
        ...

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,), without changing any state."""
        ...

    def parameters(self) -> Tensors:
        """Return what a `Predictor` needs, as named arrays: copies, except as `KnowsTouchedRows` says."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the full state (copies): parameters, optimiser, scaler, counters, random state."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; raises ValueError for another kind or schema."""
        ...


@runtime_checkable
class KnowsTouchedRows(Protocol):
    """What a learner with large parameters does besides, so that nobody must copy and compare them to find changes."""

    def touched_rows(self) -> Mapping[str, NDArray[np.int64]]:
        """Return all rows that may have changed since the last call (or since `restore`), rising, by parameter.

        A parameter that is not named may have changed anywhere. One that is named may be a read-only window in
        `parameters`, which goes on changing with the learner.
        """
        ...


@runtime_checkable
class NeedsContext(Protocol):
    """What a learner that learns from more than features, label and weight says besides."""

    @property
    def needs_context(self) -> bool:
        """Whether batches to learn from must have a `context`."""
        ...


def needs_context(learner: Learner) -> bool:
    """Return whether a learner's batches must have a context."""
    return isinstance(learner, NeedsContext) and learner.needs_context


@runtime_checkable
class Unlearns(Protocol):
    """What a learner that can take back exactly what it learned does besides."""

    def unlearn(self, batch: Batch) -> None:
        """Take back rows as they were learned: the state is then that of a learner which never saw them.

        All of them were learned before with these features, labels and weights. To the bit only where sums are exact;
        else to rounding.
        """
        ...
