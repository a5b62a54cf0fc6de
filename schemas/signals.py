"""The kinds of feedback signals: a taxonomy, with the scale of each and its mapping to [0, 1].

A kind's value v has a unit and a range [low, high]. The normalised value is 1 for the best and 0 for the worst:

    linear      x = (v - low) / (high - low)
    saturating  x = v / (v + half)                  half the way up at v = half (dwell)
    polarity    normalised = x, or 1 - x where a high value is bad news (incorrect, dismiss, undo, escalated)

What 1 means is the kind's `basis`. A *verdict* judges the answer that was shown (1: it was right), so it becomes
a label only together with the score that was served. A *label* is the label itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Channel = Literal["explicit", "implicit", "outcome"]
Basis = Literal["verdict", "label", "control"]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of signal. `channel` is None for a kind that may come on every feedback topic.

    `weight` is its default share in learning. `half` is set for saturating kinds (in the unit of the value).
    `absent` is the normalised value that silence stands for once the time to wait is over; None: silence says nothing.
    """

    name: str
    channel: Channel | None
    meaning: str
    unit: str = "0 to 1"
    low: float = 0.0
    high: float = 1.0
    polarity: Literal[1, -1] = 1
    weight: float = 1.0
    basis: Basis = "label"
    half: float | None = None
    absent: float | None = None


_ALL = (
    Kind("correct", "explicit", "the answer was right", basis="verdict"),
    Kind("incorrect", "explicit", "the answer was wrong", polarity=-1, basis="verdict"),
    Kind("correction", "explicit", "the right label, given by the user"),
    Kind("thumb", "explicit", "thumb up (1) or down (0)"),
    Kind("rating", "explicit", "stars", unit="stars, 1 to 5", low=1.0, high=5.0),
    Kind("accept", "explicit", "the suggestion was taken", weight=0.8),
    Kind("dismiss", "implicit", "the suggestion was waved away", polarity=-1, weight=0.5),
    Kind("click", "implicit", "it was clicked", weight=0.3, absent=0.0),
    Kind("dwell", "implicit", "time spent on it", unit="seconds, 0 to 86400", high=86_400.0, weight=0.3, half=30.0),
    Kind("copy", "implicit", "it was copied", weight=0.5),
    Kind("undo", "implicit", "its effect was undone", polarity=-1, weight=0.6),
    Kind("conversion", "outcome", "it led to the goal", absent=0.0),
    Kind("task_completed", "outcome", "the user's task was done", absent=0.0),
    Kind("retained", "outcome", "the user came back", weight=0.7, absent=0.0),
    Kind("escalated", "outcome", "it had to be handed to a person", polarity=-1, weight=0.8),
    Kind("retraction", None, "takes back the event named in `retracts`", weight=0.0, basis="control"),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ALL})
"""Every kind by its name, in the order of their codes."""

NAMES: tuple[str, ...] = tuple(KINDS)
"""Kind names by code."""

UNKNOWN = -1
"""The code of a kind that is not in the taxonomy."""


@cache
def _by_name() -> pc.SetLookupOptions:
    # Not at import: the first conversion makes pyarrow import pandas, which a client has no use for.
    return pc.SetLookupOptions(pa.array(NAMES))


def _column(values: list[float]) -> Floats:
    # One row more than kinds: code -1 indexes it, so unknown kinds need no branch.
    return np.array([*values, 0.0])


_LOW = _column([kind.low for kind in _ALL])
_HIGH = _column([kind.high for kind in _ALL])
_WEIGHT = _column([kind.weight for kind in _ALL])
_HALF = _column([kind.half or 0.0 for kind in _ALL])
# normalised = intercept + slope * v for linear kinds; for saturating ones the same applied to v / (v + half).
_SPAN = [1.0 if kind.half else kind.high - kind.low for kind in _ALL]
_SLOPE = _column([kind.polarity / span for kind, span in zip(_ALL, _SPAN, strict=True)])
_INTERCEPT = _column(
    [(kind.polarity < 0) - kind.polarity * kind.low / span for kind, span in zip(_ALL, _SPAN, strict=True)]
)
_CHANNELS = np.array([*(kind.channel or "any" for kind in _ALL), "none"])
_ACCEPTED: Mapping[Channel, NDArray[np.bool_]] = {
    channel: (channel == _CHANNELS) | (_CHANNELS == "any") for channel in ("explicit", "implicit", "outcome")
}


@dataclass(frozen=True, slots=True)
class Signals:
    """A run of signals, one row each; all arrays have the same length.

    codes: index into `NAMES`, -1 for unknown. known, in_channel, in_range: what holds; `valid` is all three.
    normalised: [0, 1], NaN where not valid. weight: default weight of the kind, 0 where not valid.
    """

    codes: NDArray[np.int32]
    known: Mask
    in_channel: Mask
    in_range: Mask
    normalised: Floats
    weight: Floats

    @property
    def valid(self) -> Mask:
        """Rows whose kind is known, belongs to the channel, and whose value lies in its range."""
        return self.in_channel & self.in_range


def codes_of(kinds: pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
    """Return the code of every kind name, -1 for an unknown or missing one; strings or dictionary-encoded strings."""
    found = pc.index_in(kinds, options=_by_name())
    # A null index comes out as NaN.
    return np.asarray((found.fill_null(UNKNOWN) if found.null_count else found).to_numpy(), np.int32)


def read_signals(kinds: pa.Array | pa.ChunkedArray, values: Floats, channel: Channel) -> Signals:
    """Check and normalise a column of kinds and a column of values that came on one channel's topic."""
    codes = codes_of(kinds)
    known = codes >= 0
    in_channel = _ACCEPTED[channel][codes]
    in_range = known & (values >= _LOW[codes]) & (values <= _HIGH[codes])  # NaN compares false
    valid = in_channel & in_range
    normalised = np.where(valid, _map(codes, np.where(valid, values, _LOW[codes])), np.nan)
    return Signals(codes, known, in_channel, in_range, normalised, np.where(valid, _WEIGHT[codes], 0.0))


def default_weights(kinds: pa.Array | pa.ChunkedArray) -> Floats:
    """Return the default weight of each kind, 0 for an unknown one."""
    codes = codes_of(kinds)
    return np.asarray(np.where(codes >= 0, _WEIGHT[codes], 0.0))


def normalise(kind: str, value: float) -> float:
    """Map one value to [0, 1]; raises KeyError for an unknown kind, ValueError for a value out of its range."""
    known = KINDS[kind]
    if not known.low <= value <= known.high:
        raise ValueError(f"value: {value} is not in [{known.low:g}, {known.high:g}] ({known.unit}) for {kind}")
    code = np.array([NAMES.index(kind)], np.int32)
    return float(_map(code, np.array([value], np.float64))[0])


def _map(codes: NDArray[np.int32], values: Floats) -> Floats:
    half = _HALF[codes]
    bent = half > 0
    if bent.any():
        values = values.copy()
        values[bent] /= values[bent] + half[bent]
    return np.asarray((_INTERCEPT[codes] + _SLOPE[codes] * values).clip(0.0, 1.0), np.float64)


def kinds_table() -> str:
    """Return the taxonomy as a Markdown table."""
    head = "| kind | channel | value | good is | weight | basis | meaning |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(_row(kind) for kind in _ALL)


def _row(kind: Kind) -> str:
    good = "high" if kind.polarity > 0 else "low"
    unit = f"{kind.unit}, {kind.half:g} is half way" if kind.half else kind.unit
    channel = kind.channel or "any"
    return f"| `{kind.name}` | {channel} | {unit} | {good} | {kind.weight:g} | {kind.basis} | {kind.meaning} |\n"
