"""Reads a team's file into predictions and the outcomes they had, in the order of their times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.features import hash_columns
from rheostat.streams.backtest.columns import Columns, read_columns
from rheostat.streams.backtest.learner_mapping import LearnerMapping
from rheostat.streams.backtest.signal_columns import Codes, normalised, read_kinds
from rheostat.streams.errors import ConfigError

Longs = NDArray[np.int64]
_TEXT = ("prediction_id", "segment", "target", "actor", "kind", "action")
_FEATURE = "features."


@dataclass(frozen=True, slots=True)
class LearnerRows:
    """The rows of a file, ordered by time of prediction (those of one moment in the order of the file).

    times_ms: of the predictions. label_times_ms: when each label came. label: normalised, NaN where there is none.
    logged: the score that was served, None where not mapped. batch: the features, to predict with; `categorical` as
    text besides. What is text is None where not mapped.
    """

    ids: pa.StringArray
    times_ms: Longs
    label_times_ms: Longs
    label: Floats
    kinds: Codes
    weight: Floats
    batch: Batch
    categorical: tuple[pa.StringArray, ...]
    logged: Floats | None
    propensity: Floats | None
    segment: pa.StringArray | None
    target: pa.StringArray | None
    actor: pa.StringArray | None
    action: pa.StringArray | None

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which rows have a label."""
        return ~np.isnan(self.label)


def read_learner_rows(path: Path, mapping: LearnerMapping) -> LearnerRows:
    """Read and check a file. Raises ConfigError."""
    features = {f"{_FEATURE}{name}": column for name, column in mapping.feature_columns.items()}
    names = {**mapping.columns, **features}
    text = {*_TEXT, *(f"{_FEATURE}{name}" for name in mapping.schema.categorical)}
    columns = read_columns(path, names, text | {"label"} if mapping.positive else text)
    times = _times(columns, mapping)
    order = np.argsort(times, kind="stable")
    take = pa.array(order)
    given = {name: columns.text(name).take(take) for name in _TEXT if name in columns}
    codes = read_kinds(columns, mapping.kind)
    categorical = tuple(columns.text(f"{_FEATURE}{name}").take(take) for name in mapping.schema.categorical)
    row_numbers = pc.cast(pa.array(np.arange(1, len(columns) + 1)), pa.string())
    return LearnerRows(
        ids=columns.full_text("prediction_id").take(take) if "prediction_id" in columns else row_numbers.take(take),
        times_ms=times[order],
        label_times_ms=_label_times(columns, mapping, times, order),
        label=_labels(columns, mapping, codes)[order],
        kinds=codes[order],
        weight=_weights(columns)[order],
        batch=_batch(columns, mapping, order, categorical),
        categorical=categorical,
        logged=_shares(columns, "score", order),
        propensity=_shares(columns, "propensity", order),
        **{name: given.get(name) for name in ("segment", "target", "actor", "action")},
    )


def _times(columns: Columns, mapping: LearnerMapping) -> Longs:
    if mapping.row_ms is None:
        return columns.times_ms("time", mapping.time_unit)
    # The first row is not at 0: event times are compared with horizons that lie a window back.
    return _FIRST_ROW_MS + np.arange(len(columns), dtype=np.int64) * mapping.row_ms


_FIRST_ROW_MS = 1_000_000_000_000


def _label_times(columns: Columns, mapping: LearnerMapping, times: Longs, order: NDArray[np.intp]) -> Longs:
    """Return when each label came; a label that comes some rows later than the last row comes one ms a row after it."""
    if "label_time" in columns:
        return _given_label_times(columns, mapping, times)[order]
    if mapping.delay_ms is not None:
        return np.asarray(times[order] + mapping.delay_ms, np.int64)
    assert mapping.delay_rows is not None
    due = np.arange(len(times)) + mapping.delay_rows
    past = np.maximum(due - (len(times) - 1), 0)
    return np.asarray(times[order][np.minimum(due, len(times) - 1)] + past * (mapping.row_ms or 1), np.int64)


def _given_label_times(columns: Columns, mapping: LearnerMapping, times: Longs) -> Longs:
    if columns.column("label_time").null_count == 0:
        return columns.times_ms("label_time", mapping.time_unit)
    empty = np.asarray(pc.is_null(columns.column("label_time")), np.bool_)
    labelled = np.asarray(pc.is_valid(columns.column("label")), np.bool_)
    if (wrong := np.flatnonzero(empty & labelled)).size:
        raise ConfigError(f"{columns.where('label_time')}: row {wrong[0] + 1} is empty, but has a label")
    return np.where(empty, times, columns.filled("label_time").times_ms("label_time", mapping.time_unit))


def _labels(columns: Columns, mapping: LearnerMapping, codes: Codes) -> Floats:
    if not mapping.positive:
        return normalised(columns.where("label"), columns.numbers("label"), codes, mapping.low, mapping.high)
    text = columns.text("label")
    positive = np.asarray(pc.fill_null(pc.is_in(text, pa.array(mapping.positive)), False), np.float64)
    found = np.where(np.asarray(pc.is_valid(text), np.bool_), positive, np.nan)
    if not positive.any():
        known = ", ".join(repr(each) for each in pc.unique(text).drop_null().to_pylist()[:5])
        raise ConfigError(f"{columns.where('label')}: no row is one of label.positive; there is {known or 'nothing'}")
    return found


def _weights(columns: Columns) -> Floats:
    if "weight" not in columns:
        return np.ones(len(columns))
    weight = columns.full_numbers("weight")
    if (wrong := np.flatnonzero(~((weight >= 0) & np.isfinite(weight)))).size:
        raise ConfigError(
            f"{columns.where('weight')}: row {wrong[0] + 1} is {weight[wrong[0]]:g}; 0 or more is allowed"
        )
    return weight


def _shares(columns: Columns, name: str, order: NDArray[np.intp]) -> Floats | None:
    """Return a column of probabilities, NaN where a cell is empty; an empty score has no meaning."""
    if name not in columns:
        return None
    found = columns.full_numbers(name) if name == "score" else columns.numbers(name)
    outside = (found < 0) | (found > 1) | ((found == 0) if name == "propensity" else False)
    if (wrong := np.flatnonzero(outside)).size:
        raise ConfigError(f"{columns.where(name)}: row {wrong[0] + 1} is {found[wrong[0]]:g}, which is no probability")
    return np.asarray(found[order], np.float64)


def _batch(
    columns: Columns, mapping: LearnerMapping, order: NDArray[np.intp], categorical: tuple[pa.StringArray, ...]
) -> Batch:
    numeric = np.empty((len(columns), len(mapping.schema.numeric)))
    for index, name in enumerate(mapping.schema.numeric):
        numeric[:, index] = _numbers(columns, f"{_FEATURE}{name}", mapping.fill)[order]
    texts = [column.to_pylist() for column in categorical]
    return Batch(
        mapping.schema.id,
        numeric,
        hash_columns(mapping.schema, texts, len(columns)),
        np.zeros(len(columns)),
        np.ones(len(columns)),
    )


def _numbers(columns: Columns, name: str, fill: float | None) -> Floats:
    found = columns.numbers(name)
    if fill is not None:
        found = np.where(np.isnan(found), fill, found)
    if (wrong := np.flatnonzero(~np.isfinite(found))).size:
        empty = np.isnan(found[wrong[0]])
        hint = "is empty; features.fill names the number that stands for an empty cell" if empty else "is infinite"
        raise ConfigError(f"{columns.where(name)}: row {wrong[0] + 1} {hint}")
    return found
