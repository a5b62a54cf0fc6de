"""Reads the values of a feature set out of a file: CSV (or CSV.gz) or Parquet, one column for each feature.

Numbers stay numbers, with NaN where a cell is empty; categories stay text. Errors name the file and the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import hash_columns
from rheostat.schemas.feature_sets import FeatureSet
from rheostat.streams.errors import ConfigError

_NULLS = ["", "NULL", "null", "NaN", "nan", "N/A"]


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Columns of a file by feature. positive: whether the label says so, None without labels."""

    numbers: Mapping[str, Floats]
    texts: Mapping[str, Sequence[str | None]]
    positive: NDArray[np.bool_] | None

    def batch(self, schema: FeatureSchema) -> Batch:
        """Return the rows as examples to judge features by, of weight 1.

        A number that is missing becomes the same number for all, below all others, so that its absence counts, too.
        """
        rows = len(next(iter((*self.numbers.values(), *self.texts.values()))))
        numeric = [_filled(self.numbers[name]) for name in schema.numeric]
        return Batch(
            schema_id=schema.id,
            numeric=np.column_stack(numeric) if numeric else np.empty((rows, 0)),
            categorical=hash_columns(schema, [self.texts[name] for name in schema.categorical], rows),
            label=np.zeros(rows) if self.positive is None else self.positive.astype(np.float64),
            weight=np.ones(rows),
        )


def read_feature_rows(path: Path, features: FeatureSet, label: str | None, positive: str) -> FeatureRows:
    """Return the values of all features, and where `label` names a column, which rows of it read `positive`.

    Raises ConfigError.
    """
    wanted = [*features.numeric, *features.categorical, *([] if label is None else [label])]
    as_text = {*features.categorical, *([] if label is None else [label])}
    table = _read(path, wanted, as_text)
    numbers = {name: _numbers(path, table, name) for name in features.numeric}
    texts = {name: _texts(path, table, name).to_pylist() for name in features.categorical}
    if label is None:
        return FeatureRows(numbers, texts, None)
    found = _texts(path, table, label)
    marked = pc.fill_null(pc.equal(found, positive), False).to_numpy(zero_copy_only=False).astype(np.bool_)
    if marked.all() or not marked.any():
        known = ", ".join(repr(each) for each in pc.unique(found).to_pylist()[:5])
        raise ConfigError(f"{path}: column {label!r}: all or none of the rows are {positive!r}; there is {known}")
    return FeatureRows(numbers, texts, marked)


def _read(path: Path, wanted: Sequence[str], as_text: set[str]) -> pa.Table:
    form = "Parquet" if path.suffix == ".parquet" else "CSV"
    try:
        if form == "Parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            # What is text must stay as it is written: 007 is no number.
            convert = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(as_text, pa.string()), null_values=_NULLS, strings_can_be_null=True
            )
            table = pyarrow.csv.read_csv(path, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as {form}: {error}") from None
    if lacking := [name for name in wanted if name not in table.column_names]:
        raise ConfigError(f"{path}: has no column {lacking[0]!r}; it has {', '.join(table.column_names)}")
    if not len(table):
        raise ConfigError(f"{path}: has no rows")
    return table


def _numbers(path: Path, table: pa.Table, name: str) -> Floats:
    try:
        found = pc.cast(table.column(name), pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: column {name!r}: is not all numbers: {error}") from None
    if np.isinf(found).any():
        raise ConfigError(f"{path}: column {name!r}: has values that are not finite")
    return np.asarray(found, np.float64)


def _texts(path: Path, table: pa.Table, name: str) -> pa.Array:
    try:
        return pc.cast(table.column(name), pa.string()).combine_chunks()
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: column {name!r}: is no text: {error}") from None


def _filled(numbers: Floats) -> Floats:
    missing = np.isnan(numbers)
    present = numbers[~missing]
    return np.where(missing, present.min() - 1.0 if len(present) else 0.0, numbers)
