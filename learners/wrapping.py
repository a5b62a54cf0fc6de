"""Learners around a learner: what they share, and what they ask of the one inside.

A wrapper scores and is served as the learner inside does, and has its kind; its snapshot holds the inner one's tensors
as "learner.NAME" beside its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import (
    Batch,
    FeatureSchema,
    Floats,
    KnowsTouchedRows,
    Learner,
    Snapshot,
    Tensors,
    needs_context,
)

_INNER = "learner."


@runtime_checkable
class Adjustable(Learner, Protocol):
    """A learner whose learned numbers may be moved from outside: towards an anchor, or back to a slow core."""

    def learned(self) -> dict[str, NDArray[np.floating]]:
        """Return copies of the parameters that learning moves, named as in `parameters`; no scale, no optimiser."""
        ...

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the rest of the state stays. Names, shapes and types are `learned`'s."""
        ...


@runtime_checkable
class Reports(Protocol):
    """A learner with figures about itself, for the metrics of a version's manifest."""

    def metrics(self) -> Mapping[str, float]:
        """Return figures by name, all finite; nothing is changed."""
        ...


@runtime_checkable
class Forgets(Protocol):
    """A learner that keeps rows as they were given to it, and can erase them."""

    def forget(self, batch: Batch) -> int:
        """Erase all kept rows that have the features of one of these, and return how many; what was learned stays."""
        ...


Inner = TypeVar("Inner", bound=Learner)


class Wrapping(ABC, Generic[Inner]):
    """A learner around the one that `make` makes, always in the same state."""

    def __init__(self, make: Callable[[], Inner]) -> None:
        self._make = make
        self._inner = make()

    @property
    def kind(self) -> str:
        """The kind of the learner inside: it is served as that one."""
        return self._inner.kind

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._inner.schema

    @property
    def needs_context(self) -> bool:
        """Whether batches to learn from must have a context: as the learner inside says."""
        return needs_context(self._inner)

    @property
    def steps_undone(self) -> int:
        """How many steps the learner inside undid because a parameter exploded."""
        return int(getattr(self._inner, "steps_undone", 0))

    @abstractmethod
    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order."""

    def flush(self) -> None:
        """Learn from whatever is buffered."""
        self._inner.flush()

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,)."""
        return self._inner.predict(batch)

    def parameters(self) -> Tensors:
        """Return what a predictor of the inner kind needs."""
        return self._inner.parameters()

    def touched_rows(self) -> Mapping[str, NDArray[np.int64]]:
        """Return what the learner inside knows of rows that changed; nothing where it does not know."""
        return self._inner.touched_rows() if isinstance(self._inner, KnowsTouchedRows) else {}

    def metrics(self) -> Mapping[str, float]:
        """Return the figures of the learner inside, if it has any."""
        return self._inner.metrics() if isinstance(self._inner, Reports) else {}

    def forget(self, batch: Batch) -> int:
        """Erase all kept rows that have the features of one of these, and return how many; what was learned stays."""
        return self._inner.forget(batch) if isinstance(self._inner, Forgets) else 0

    def snapshot(self) -> Snapshot:
        """Return the full state, the learner inside included."""
        inner = self._inner.snapshot()
        tensors = {f"{_INNER}{name}": tensor for name, tensor in inner.tensors.items()}
        return Snapshot(self.kind, self.schema.id, {**tensors, **self._tensors()})

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema or settings, and nothing is changed then."""
        inner = {name.removeprefix(_INNER): each for name, each in snapshot.tensors.items() if name.startswith(_INNER)}
        fresh = self._untrained()
        fresh._inner.restore(Snapshot(snapshot.kind, snapshot.schema_id, inner))
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    @abstractmethod
    def _untrained(self) -> Self:
        """Return one like this that has learned nothing."""

    @abstractmethod
    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the wrapper's own state (copies)."""

    @abstractmethod
    def _take_over(self, tensors: Tensors) -> None:
        """Take over the wrapper's own state; ValueError if it does not fit."""
