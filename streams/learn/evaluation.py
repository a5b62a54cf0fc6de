"""Test-then-train: how the version in use did on examples that no version has learned yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.learners import prequential
from rheostat.learners.contract import Batch, Floats, Learner
from rheostat.learners.features import select
from rheostat.learners.platt import PlattScaling
from rheostat.schemas import catalogue, codec
from rheostat.streams.learn.cohorts import Line, Segments, cohorts
from rheostat.streams.learn.examples import Examples
from rheostat.streams.models.version import Version

SCORED_ROWS = 1_024
"""Scored at once: larger products are spread over threads, which cost more than they save."""

PROPENSITY_FLOOR = 0.05
"""Propensities below it count as it where examples are weighted by their inverse."""


def evaluate(
    model: str,
    version: Version,
    learner: Learner,
    examples: Examples,
    *,
    learned: bool,
    now_ms: int,
    calibration: PlattScaling | None = None,
    score: Floats | None = None,
) -> dict[str, Any]:
    """Score examples, at least one, with the learner as it is and return the `evaluations` record.

    `cells`, for detectors, have the new examples alone; `cohorts` the revisions too. Calibrated scores are those of
    the line as `calibration` learned it from the blocks before; then it learns this block. score: where it is known.
    """
    calibration = calibration or PlattScaling()
    score = scores(learner, examples.batch) if score is None else score
    line = Line(calibration.slope, calibration.offset)
    times, segments = _numbers(examples.records, "occurred_at"), Segments.of(examples.records)
    revised = np.flatnonzero(examples.records.column("revision").to_numpy(zero_copy_only=True))
    record = {
        "model": model,
        "epoch": version.epoch,
        "sequence": version.sequence,
        "learned": learned,
        "ranges": [{"partition": run.partition, "start": run.start, "end": run.end} for run in examples.filled],
        "cells": _cells(examples, segments, score, revised),
        "first_at": int(times.min()),
        "last_at": int(times.max()),
        "evaluated_at": now_ms,
        "cohorts": cohorts(examples.records, segments, score, model, line, PROPENSITY_FLOOR),
        "calibration_slope": line.slope,
        "calibration_offset": line.offset,
        "propensity_floor": PROPENSITY_FLOOR,
    }
    _calibrate(calibration, examples, score, revised)
    return record


def calibration_state(calibration: PlattScaling) -> tuple[float, ...]:
    """Return what a calibration learned, as numbers for the metadata of a commit."""
    return tuple(calibration.tensors()["platt.state"].tolist())


def calibration_of(state: Sequence[float]) -> PlattScaling:
    """Return the calibration with this state, an untrained one where it is empty. Raises ValueError if it is none."""
    calibration = PlattScaling()
    if state:
        calibration.restore({"platt.state": np.array(state, np.float64)})
    return calibration


def encode(record: dict[str, Any]) -> bytes:
    """Return the record as a message value."""
    return codec.encode_record(catalogue.EVALUATIONS, record)


def mean_brier(record: dict[str, Any]) -> float | None:
    """Return the mean squared error of the scores over all cells; None where no example was new."""
    count = sum(cell["count"] for cell in record["cells"])
    return float(sum(cell["brier_sum"] for cell in record["cells"]) / count) if count else None


def _calibrate(calibration: PlattScaling, examples: Examples, score: Floats, revised: NDArray[np.intp]) -> None:
    calibration.learn(score, examples.batch.label, examples.batch.weight)
    if len(revised):
        was_label, was_weight = (_floats(examples.records, name)[revised] for name in ("was_label", "was_weight"))
        calibration.learn(score[revised], was_label, -was_weight)


def _cells(examples: Examples, segments: Segments, score: Floats, revised: NDArray[np.intp]) -> list[dict[str, Any]]:
    batch, age = examples.batch, _numbers(examples.records, "label_age_ms")
    new = np.delete(np.arange(len(score)), revised) if len(revised) else slice(None)
    columns = score[new], batch.label[new], batch.weight[new], segments.codes[new], age[new]
    return prequential.coded_cells(*columns, names=segments.names)


def scores(learner: Learner, batch: Batch) -> Floats:
    """Return the learner's scores of all rows, at least one."""
    parts = [select(batch, slice(at, at + SCORED_ROWS)) for at in range(0, len(batch), SCORED_ROWS)]
    return np.concatenate([learner.predict(part) for part in parts])


def _numbers(records: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = records.column(name).view("int64").to_numpy(zero_copy_only=True)
    return numbers


def _floats(records: pa.RecordBatch, name: str) -> Floats:
    floats: Floats = records.column(name).to_numpy(zero_copy_only=True)
    return floats
