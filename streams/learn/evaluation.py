"""Test-then-train: how the version in use did on examples that no version has learned yet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners import prequential
from rheostat.learners.contract import Batch, Floats, Learner
from rheostat.learners.features import select
from rheostat.schemas import catalogue, codec
from rheostat.streams.learn.examples import Examples
from rheostat.streams.models.version import Version

SCORED_ROWS = 1_024
"""Scored at once: larger products are spread over threads, which cost more than they save."""


def evaluate(
    model: str, version: Version, learner: Learner, examples: Examples, *, learned: bool, now_ms: int
) -> dict[str, Any]:
    """Score examples, at least one, with the learner as it is and return the `evaluations` record."""
    times = _numbers(examples, "occurred_at")
    return {
        "model": model,
        "epoch": version.epoch,
        "sequence": version.sequence,
        "learned": learned,
        "ranges": [{"partition": run.partition, "start": run.start, "end": run.end} for run in examples.filled],
        "cells": prequential.cells(
            _scores(learner, examples.batch),
            examples.batch.label,
            examples.batch.weight,
            examples.records.column("segment").to_pylist(),
            _numbers(examples, "label_age_ms"),
        ),
        "first_at": int(times.min()),
        "last_at": int(times.max()),
        "evaluated_at": now_ms,
    }


def encode(record: dict[str, Any]) -> bytes:
    """Return the record as a message value."""
    return codec.encode_record(catalogue.EVALUATIONS, record)


def mean_brier(record: dict[str, Any]) -> float:
    """Return the mean squared error of the scores over all cells."""
    return float(sum(cell["brier_sum"] for cell in record["cells"]) / sum(cell["count"] for cell in record["cells"]))


def _scores(learner: Learner, batch: Batch) -> Floats:
    parts = [select(batch, slice(at, at + SCORED_ROWS)) for at in range(0, len(batch), SCORED_ROWS)]
    return np.concatenate([learner.predict(part) for part in parts])


def _numbers(examples: Examples, name: str) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = examples.records.column(name).view("int64").to_numpy(zero_copy_only=True)
    return numbers
