"""Rows with times and strata that follow from their features, for learners that live by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rheostat.learners.contract import Batch, Context, FeatureSchema, Floats, Learner, Snapshot, Tensors
from rheostat.learners.features import no_context

DAY_MS = 86_400_000


def at_times(batch: Batch, times_ms: object) -> Batch:
    """The batch with these times, one for all rows or one for each."""
    times = np.broadcast_to(np.asarray(times_ms, np.int64), len(batch)).copy()
    return replace(batch, context=replace(no_context(len(batch)), occurred_at_ms=times))


def with_context(batch: Batch, days: int = 20, strata: int = 5) -> Batch:
    """The batch with times spread over days, and strata: both from the bits of the row."""
    bits = np.concatenate([np.ascontiguousarray(batch.numeric).view(np.uint64), batch.categorical], axis=1)
    mixed = (bits * np.uint64(0x9E3779B97F4A7C15)).sum(axis=1, dtype=np.uint64) >> np.uint64(20)
    times = (mixed % np.uint64(days * DAY_MS)).astype(np.int64) + DAY_MS
    rows = no_context(len(batch))
    return replace(batch, context=Context(rows.action, rows.propensity, times, mixed % np.uint64(strata)))


class Timed:
    """A learner that is given every batch `with_context`, so that the checks of the contract make it use them."""

    def __init__(self, make: Callable[[], Learner]) -> None:
        self.inner = make()

    @property
    def kind(self) -> str:
        return self.inner.kind

    @property
    def schema(self) -> FeatureSchema:
        return self.inner.schema

    def learn(self, batch: Batch) -> None:
        self.inner.learn(with_context(batch))

    def flush(self) -> None:
        self.inner.flush()

    def predict(self, batch: Batch) -> Floats:
        return self.inner.predict(batch)

    def parameters(self) -> Tensors:
        return self.inner.parameters()

    def snapshot(self) -> Snapshot:
        return self.inner.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self.inner.restore(snapshot)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)
