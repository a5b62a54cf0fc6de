"""Reads a team's file into events in the order of their times; every cell is checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.streams.backtest.columns import Columns, read_columns
from rheostat.streams.backtest.mapping import Mapped
from rheostat.streams.backtest.signal_columns import Codes, Floats, normalised, read_kinds
from rheostat.streams.intake.bursts import Events, events_of

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
    columns = read_columns(path, mapping.columns, _TEXT)
    text = {name: columns.text(name) for name in _TEXT if name in columns} | {"target": columns.full_text("target")}
    times_ms = columns.times_ms("time", mapping.time_unit)
    codes = read_kinds(columns, mapping.kind)
    values = _values(columns, mapping, codes)
    order = np.argsort(times_ms, kind="stable")
    take = pa.array(order)
    actors = text["actor"] if "actor" in text else pa.nulls(len(columns), pa.string())
    ids = text["event_id"] if "event_id" in text else pc.cast(pa.array(np.arange(1, len(columns) + 1)), pa.string())
    return History(
        events_of(text["target"].take(take), actors.take(take), codes[order], values[order], times_ms[order]),
        ids.take(take),
        text["target"].take(take),
        text["source"].take(take) if "source" in text else None,
        text["segment"].take(take) if "segment" in text else None,
        _attack(text["label"], mapping)[order] if "label" in text else None,
    )


def _values(columns: Columns, mapping: Mapped, codes: Codes) -> Floats:
    """Return values from 0 (worst) to 1 (best)."""
    if "value" in columns:
        where, given = columns.where("value"), columns.full_numbers("value")
    else:
        where, given = f"{columns.path}: defaults.value", np.full(len(columns), mapping.value)
    return normalised(where, given, codes, mapping.low, mapping.high)


def _attack(labels: pa.StringArray, mapping: Mapped) -> NDArray[np.bool_]:
    found = pc.fill_null(pc.is_in(labels, pa.array(mapping.attack)), False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
