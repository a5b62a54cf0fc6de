"""Reads a team's file into events in the order of their times. CSV (or CSV.gz) and Parquet.

Every cell is checked; an error names the file, the column and the row, where row 1 is the first below the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from rheostat.schemas.signals import KINDS, NAMES, codes_of, read_signals
from rheostat.streams.backtest.mapping import UNITS_PER_S, Mapped
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.bursts import Events, events_of

_NULLS = ["", "NULL", "null", "NaN", "nan", "N/A"]
_TEXT = ("event_id", "target", "actor", "source", "segment", "kind", "label")


@dataclass(frozen=True, slots=True)
class History:
    """All events of a file, ordered by time (those of one moment in the order of the file).

    events: what scoring sees. ids: event ids, or row numbers of the file. targets, source, segment: as text, None where
    not mapped. attack: whether the label says so, None without labels. It never enters `events`.
    """

    events: Events
    ids: pa.StringArray
    targets: pa.StringArray
    source: pa.StringArray | None
    segment: pa.StringArray | None
    attack: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.events)


def read_history(path: Path, mapping: Mapped) -> History:
    """Read and check a file. Raises ConfigError."""
    table = _read(path, mapping)
    text = {name: _text(path, table, mapping, name) for name in _TEXT if name in mapping.columns}
    times_ms = _times(path, table, mapping)
    _require(path, mapping, "target", text["target"])
    kinds = text["kind"] if "kind" in text else pa.array([mapping.kind]).take(pa.array(np.zeros(len(table), np.int64)))
    codes = _codes(path, mapping, kinds)
    values = _values(path, table, mapping, codes)
    order = np.argsort(times_ms, kind="stable")
    take = pa.array(order)
    actors = text["actor"] if "actor" in text else pa.nulls(len(table), pa.string())
    ids = text["event_id"] if "event_id" in text else pc.cast(pa.array(np.arange(1, len(table) + 1)), pa.string())
    return History(
        events_of(text["target"].take(take), actors.take(take), codes[order], values[order], times_ms[order]),
        ids.take(take),
        text["target"].take(take),
        text["source"].take(take) if "source" in text else None,
        text["segment"].take(take) if "segment" in text else None,
        _attack(text["label"], mapping)[order] if "label" in text else None,
    )


def _read(path: Path, mapping: Mapped) -> pa.Table:
    wanted = list(dict.fromkeys(mapping.columns.values()))
    try:
        if path.suffix == ".parquet":
            schema = pyarrow.parquet.read_schema(path)
            _check_columns(path, mapping, schema.names)
            table = pyarrow.parquet.read_table(path, columns=wanted)
        else:
            _check_columns(path, mapping, _header(path))
            # Numbers that are ids must stay as they are written, so what is text is read as text.
            types = {mapping.columns[name]: pa.string() for name in _TEXT if name in mapping.columns}
            convert = pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=wanted, null_values=_NULLS, strings_can_be_null=True
            )
            table = pyarrow.csv.read_csv(path, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        form = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise ConfigError(f"{path}: cannot be read as {form}: {error}") from None
    if not len(table):
        raise ConfigError(f"{path}: has no rows")
    return table.combine_chunks()


def _header(path: Path) -> list[str]:
    with pyarrow.csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _check_columns(path: Path, mapping: Mapped, names: list[str]) -> None:
    for ours, theirs in mapping.columns.items():
        if theirs not in names:
            raise ConfigError(f"{path}: has no column {theirs!r} (mapped to {ours}); it has {', '.join(names)}")


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _text(path: Path, table: pa.Table, mapping: Mapped, name: str) -> pa.StringArray:
    column = _column(table, mapping.columns[name])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: column {mapping.columns[name]!r} ({name}): is no text: {error}") from None


def _require(path: Path, mapping: Mapped, name: str, column: pa.Array) -> None:
    if column.null_count:
        row = int(np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))[0]) + 1
        raise ConfigError(f"{path}: column {mapping.columns[name]!r} ({name}): row {row} is empty")


def _times(path: Path, table: pa.Table, mapping: Mapped) -> NDArray[np.int64]:
    column = _column(table, mapping.columns["time"])
    _require(path, mapping, "time", column)
    if pa.types.is_string(column.type):
        return _parsed(path, mapping, column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return np.asarray(pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64()).to_numpy(), np.int64)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ConfigError(
            f"{path}: column {mapping.columns['time']!r} (time): {column.type} is neither a time nor a number"
        )
    numbers, per_s = column.to_numpy(zero_copy_only=False), UNITS_PER_S[mapping.time_unit]
    if numbers.dtype.kind == "f":
        numbers = numbers * 1_000 / per_s
    else:
        numbers = numbers * (1_000 // per_s) if per_s <= 1_000 else numbers // (per_s // 1_000)
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers < 2**43)))
    if len(wrong):
        raise ConfigError(
            f"{path}: column {mapping.columns['time']!r} (time): row {wrong[0] + 1} is {column[int(wrong[0])].as_py()} "
            f"{mapping.time_unit}, which is not between the years 1970 and 2248; is time.unit right?"
        )
    return np.asarray(numbers, np.int64)


def _parsed(path: Path, mapping: Mapped, column: pa.StringArray) -> NDArray[np.int64]:
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
                f"{path}: column {mapping.columns['time']!r} (time): row {row} is {text!r}, which is no time such as "
                "2026-01-31T12:00:00Z"
            ) from None
    raise ConfigError(f"{path}: column {mapping.columns['time']!r} (time): some times name a zone and others do not")


def _codes(path: Path, mapping: Mapped, kinds: pa.StringArray) -> NDArray[np.int32]:
    codes = codes_of(kinds)
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise ConfigError(
            f"{path}: column {mapping.columns['kind']!r} (kind): row {row + 1} is {kinds[row].as_py()!r}, which is no "
            f"kind of signal; there are {', '.join(KINDS)}"
        )
    return codes


def _values(path: Path, table: pa.Table, mapping: Mapped, codes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return values from 0 (worst) to 1 (best)."""
    where = f"{path}: defaults.value"
    given = np.full(len(table), mapping.value)
    if "value" in mapping.columns:
        where = f"{path}: column {mapping.columns['value']!r} (value)"
        column = _column(table, mapping.columns["value"])
        _require(path, mapping, "value", column)
        try:
            given = np.asarray(pc.cast(column, pa.float64()).to_numpy(), np.float64)
        except pa.ArrowException as error:
            raise ConfigError(f"{where}: is no number: {error}") from None
    if mapping.low is not None and mapping.high is not None:
        values = (given - mapping.low) / (mapping.high - mapping.low)
        values = np.where((values >= 0) & (values <= 1), values, np.nan)
        allowed = f"{mapping.low:g} to {mapping.high:g}"
    else:
        names = pa.array(NAMES).take(pa.array(codes))
        values, allowed = np.full(len(given), np.nan), ""
        for channel in ("explicit", "implicit", "outcome"):
            found = read_signals(names, given, channel).normalised
            values = np.where(np.isnan(values), found, values)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        kind = KINDS[NAMES[codes[row]]]
        allowed = (
            allowed or f"{kind.low:g} to {kind.high:g} ({kind.name}, {kind.unit}); [value] low and high set others"
        )
        raise ConfigError(f"{where}: row {row + 1} is {given[row]:g}, out of range {allowed}")
    return values


def _attack(labels: pa.StringArray, mapping: Mapped) -> NDArray[np.bool_]:
    found = pc.fill_null(pc.is_in(labels, pa.array(mapping.attack)), False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
