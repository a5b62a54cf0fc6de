"""The columns of a team's file: CSV (also .csv.gz; .tsv, .tsv.gz) or Parquet, read once and checked.

Every error names the file, the column, what it is mapped to and the row, where row 1 is the first below the header.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from rheostat.streams.errors import ConfigError

UNITS_PER_S: Mapping[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NULLS = ["", "NULL", "null", "NaN", "nan", "N/A"]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file by what they are mapped to: `names` is our name to theirs."""

    path: Path
    names: Mapping[str, str]
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def filled(self, name: str) -> Columns:
        """Return the columns with the empty cells of one replaced by any of its values."""
        place = self.table.column_names.index(self.names[name])
        column = self.column(name)
        values = column.drop_null()
        filled = pc.fill_null(column, values[0]) if len(values) else column
        return replace(self, table=self.table.set_column(place, self.names[name], filled))

    def where(self, name: str) -> str:
        """Return file and column in words, to begin an error with."""
        return f"{self.path}: column {self.names[name]!r} ({name})"

    def column(self, name: str) -> pa.Array:
        """Return a column as it was read."""
        column = self.table.column(self.names[name])
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)

    def text(self, name: str) -> pa.StringArray:
        """Return a column as text. Raises ConfigError."""
        column = self.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            return pc.cast(column, pa.string())
        except pa.ArrowException as error:
            raise ConfigError(f"{self.where(name)}: is no text: {error}") from None

    def full_text(self, name: str) -> pa.StringArray:
        """Return a column as text, none of it empty. Raises ConfigError."""
        found = self.text(name)
        self._require(name, found)
        return found

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers, NaN where a cell is empty; true is 1. Raises ConfigError."""
        column = self.column(name)
        try:
            numbers = pc.cast(column, pa.float64())
        except pa.ArrowException as error:
            truths = _truths(column)
            if truths is None:
                raise ConfigError(f"{self.where(name)}: is no number: {error}") from None
            numbers = pc.cast(truths, pa.float64())
        return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)

    def full_numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers, none of it empty. Raises ConfigError."""
        numbers = self.numbers(name)
        if np.isnan(numbers).any():
            raise ConfigError(f"{self.where(name)}: row {int(np.flatnonzero(np.isnan(numbers))[0]) + 1} is empty")
        return numbers

    def times_ms(self, name: str, unit: str) -> NDArray[np.int64]:
        """Return a column of times, none of it empty, in ms since 1970 UTC; `unit` is that of numbers.

        Raises ConfigError.
        """
        column = self.column(name)
        self._require(name, column)
        if pa.types.is_string(column.type):
            return self._parsed(name, column)
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return np.asarray(pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64()).to_numpy(), np.int64)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise ConfigError(f"{self.where(name)}: {column.type} is neither a time nor a number")
        numbers, per_s = column.to_numpy(zero_copy_only=False), UNITS_PER_S[unit]
        if numbers.dtype.kind == "f":
            numbers = numbers * 1_000 / per_s
        else:
            numbers = numbers * (1_000 // per_s) if per_s <= 1_000 else numbers // (per_s // 1_000)
        wrong = np.flatnonzero(~((numbers >= 0) & (numbers < 2**43)))
        if len(wrong):
            raise ConfigError(
                f"{self.where(name)}: row {wrong[0] + 1} is {column[int(wrong[0])].as_py()} {unit}, "
                "which is not between the years 1970 and 2248; is time.unit right?"
            )
        return np.asarray(numbers, np.int64)

    def _require(self, name: str, column: pa.Array) -> None:
        if column.null_count:
            row = int(np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))[0]) + 1
            raise ConfigError(f"{self.where(name)}: row {row} is empty")

    def _parsed(self, name: str, column: pa.StringArray) -> NDArray[np.int64]:
        """Read ISO 8601 text; what names no zone is UTC."""
        for zone in (None, "UTC"):
            try:
                times = pc.cast(column, pa.timestamp("ns", zone))
            except pa.ArrowException:
                continue
            return np.asarray(pc.cast(times, pa.int64()).to_numpy() // 1_000_000, np.int64)
        for row, text in enumerate(column.to_pylist(), 1):
            try:
                np.datetime64(text.removesuffix("Z"), "ms")
            except ValueError:
                raise ConfigError(
                    f"{self.where(name)}: row {row} is {text!r}, which is no time such as 2026-01-31T12:00:00Z"
                ) from None
        raise ConfigError(f"{self.where(name)}: some times name a zone and others do not")


def read_columns(path: Path, names: Mapping[str, str], text: Collection[str]) -> Columns:
    """Read the columns that `names` maps; those in `text` are read as text, so that ids stay as they are written.

    Raises ConfigError, also where there are no rows.
    """
    wanted = list(dict.fromkeys(names.values()))
    try:
        if path.suffix == ".parquet":
            _check_columns(path, names, pyarrow.parquet.read_schema(path).names)
            table = pyarrow.parquet.read_table(path, columns=wanted)
        else:
            parse = pyarrow.csv.ParseOptions(delimiter="\t" if ".tsv" in path.suffixes else ",")
            with pyarrow.csv.open_csv(path, parse_options=parse) as reader:
                _check_columns(path, names, reader.schema.names)
            convert = pyarrow.csv.ConvertOptions(
                column_types={names[name]: pa.string() for name in text if name in names},
                include_columns=wanted,
                null_values=_NULLS,
                strings_can_be_null=True,
            )
            table = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        form = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise ConfigError(f"{path}: cannot be read as {form}: {error}") from None
    if not len(table):
        raise ConfigError(f"{path}: has no rows")
    return Columns(path, names, table.combine_chunks())


def _check_columns(path: Path, names: Mapping[str, str], found: list[str]) -> None:
    for ours, theirs in names.items():
        if theirs not in found:
            raise ConfigError(f"{path}: has no column {theirs!r} (mapped to {ours}); it has {', '.join(found)}")


def _truths(column: pa.Array) -> pa.BooleanArray | None:
    """Return text that is all true and false, as a column that is mapped to text, too, is read; None for other text."""
    try:
        return pc.cast(column, pa.bool_())
    except pa.ArrowException:
        return None
