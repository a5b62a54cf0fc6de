"""Test-then-train: how the version in use did on examples that no version has learned yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rheostat.learners import prequential
from rheostat.learners.contract import Floats, Learner
from rheostat.schemas import catalogue, codec
from rheostat.streams.learn.examples import Examples
from rheostat.streams.models.version import Version


def evaluate(
    model: str, version: Version, learner: Learner, runs: Sequence[Examples], *, learned: bool, now_ms: int
) -> dict[str, Any]:
    """Score the runs with the learner as it is and return the `evaluations` record. At least one run has examples."""
    filled = [run for run in runs if len(run)]
    scores = np.concatenate([learner.predict(run.batch) for run in filled])
    times = np.concatenate([_column(run, "occurred_at").astype(np.int64) for run in filled])
    return {
        "model": model,
        "epoch": version.epoch,
        "sequence": version.sequence,
        "learned": learned,
        "ranges": [{"partition": run.partition, "start": run.start, "end": run.end} for run in filled],
        "cells": _cells(filled, scores),
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


def _cells(runs: Sequence[Examples], scores: Floats) -> list[dict[str, Any]]:
    return prequential.cells(
        scores,
        np.concatenate([run.batch.label for run in runs]),
        np.concatenate([run.batch.weight for run in runs]),
        [text for run in runs for text in run.records.column("segment").to_pylist()],
        np.concatenate([_column(run, "label_age_ms") for run in runs]),
    )


def _column(run: Examples, name: str) -> Any:
    return run.records.column(name).to_numpy(zero_copy_only=False)
