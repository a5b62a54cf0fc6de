"""Kinds and values of signals in the columns of a file, with the values brought to 0 (worst) to 1 (best)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.signals import KINDS, NAMES, codes_of, read_signals
from rheostat.streams.backtest.columns import Columns
from rheostat.streams.errors import ConfigError

Codes = NDArray[np.int32]
Floats = NDArray[np.float64]


def read_kinds(columns: Columns, default: str) -> Codes:
    """Return the code of the kind of each row, that of `default` where no column has kinds. Raises ConfigError."""
    if "kind" not in columns:
        return np.full(len(columns), NAMES.index(default), np.int32)
    kinds = columns.text("kind")
    codes = codes_of(kinds)
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise ConfigError(
            f"{columns.where('kind')}: row {row + 1} is {kinds[row].as_py()!r}, which is no kind of signal; "
            f"there are {', '.join(KINDS)}"
        )
    return codes


def normalised(where: str, given: Floats, codes: Codes, low: float | None, high: float | None) -> Floats:
    """Return values from 0 to 1; NaN stays NaN. `low` and `high` are what they go from and to, None: as their kinds do.

    Raises ConfigError for a value out of range, which begins with `where`.
    """
    if low is not None and high is not None:
        values = (given - low) / (high - low)
        values = np.where((values >= 0) & (values <= 1), values, np.nan)
    else:
        names = pa.array(NAMES).take(pa.array(codes))
        values = np.full(len(given), np.nan)
        for channel in ("explicit", "implicit", "outcome"):
            values = np.where(np.isnan(values), read_signals(names, given, channel).normalised, values)
    wrong = np.flatnonzero(np.isnan(values) & ~np.isnan(given))
    if len(wrong):
        row = int(wrong[0])
        kind = KINDS[NAMES[codes[row]]]
        allowed = f"{kind.low:g} to {kind.high:g} ({kind.name}, {kind.unit}); [value] low and high set others"
        if low is not None and high is not None:
            allowed = f"{low:g} to {high:g}"
        raise ConfigError(f"{where}: row {row + 1} is {given[row]:g}, out of range {allowed}")
    return values
