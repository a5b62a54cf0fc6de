"""The newest entries of a partition's ledger, found by the prediction they are about.

Known are the last `signals_max` entries, as far as their event times are within `window_ms` of the watermark (the
largest event time written so far) and their ids are among the last 64 bytes x `signals_max` of ids. All three follow
from the entries that came later, so folding the end of the ledger restores exactly what is known.
Memory is fixed, and touched only as far as it is used: at most 336 bytes for each of `signals_max`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, compiled
from rheostat.streams.prefetch import prefetch

Longs = NDArray[np.int64]
Octets = NDArray[np.uint8]

TEXT_BYTES_MAX = 512
"""As long as an event id may be; a longer target id is not kept."""

FOUND_MAX = 32
"""Signals of one prediction that are looked at, the newest ones; bounds what one event may cost and correct."""

_STEPS_MAX = 2 * FOUND_MAX
_TEXT_BYTES_EACH = 64
_ROWS_AT_ONCE = 2 * TEXT_BYTES_MAX // _TEXT_BYTES_EACH

CALM, LOST, OUTCOME = 1, 2, 4
"""Flags: it may overrule others and be rated; it lost; it is an outcome to rate others by."""

_SIGNAL = np.dtype(
    [
        *[("low", "u8"), ("high", "u8"), ("event", "u8"), ("source", "u8"), ("time", "i8"), ("text_at", "i8")],
        *[("offset", "i8"), ("before", "i8"), ("value", "f8"), ("weight", "f8"), ("partition", "i4")],
        *[("id_bytes", "i2"), ("target_bytes", "i2"), ("kind", "i1"), ("rank", "i1"), ("side", "i1"), ("flags", "u1")],
    ],
    align=True,
)
"""An entry: its prediction's fingerprint, the low halves of its id's and its source's, where its texts begin, its
origin, the number of the entry before it in its chain, and what it says. `target_bytes` is -1 for none."""

SIGNAL_TYPE: Any = from_dtype(_SIGNAL)
SIGNALS = types.Array(SIGNAL_TYPE, 1, "C")
CHAINS, TEXTS, NUMBERS = types.int64[::1], types.uint8[::1], types.int64[::1]

NEXT, TEXT_NEXT, WATERMARK = range(3)
"""Places in the numbers: what the next entry and its first byte of text will be numbered, and the watermark."""


_memcpy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))


class Remembered(NamedTuple):
    """One known entry, as a correction of it needs it."""

    event_id: str
    target_id: str | None
    kind: int
    value: float
    weight: float
    time_ms: int
    partition: int
    offset: int


class RecentSignals:
    """The entries and their texts, in two rings of twice the size of what is known: so what was known at the beginning
    of `rows_at_once` rows can still be read after them."""

    def __init__(self, signals_max: int) -> None:
        self.signals = np.zeros(2 * signals_max, _SIGNAL)
        self.chains = np.zeros(2 * signals_max, np.int64)
        self.texts = np.zeros(2 * signals_max * _TEXT_BYTES_EACH, np.uint8)
        self.numbers = np.array([1, 0, np.iinfo(np.int64).min])
        self.rows_at_once = signals_max // _ROWS_AT_ONCE

    @property
    def watermark_ms(self) -> int:
        """The largest event time of an entry."""
        return int(self.numbers[WATERMARK])

    def advance(self, watermark_ms: int) -> None:
        """Let the watermark rise, as entries that are not told of did."""
        self.numbers[WATERMARK] = max(self.watermark_ms, watermark_ms)

    def remembered(self, number: int) -> Remembered:
        """Return an entry by its number."""
        entry = self.signals[number & (len(self.signals) - 1)]
        begin, id_bytes, target_bytes = (int(entry[name]) for name in ("text_at", "id_bytes", "target_bytes"))
        target = None if target_bytes < 0 else self._text(begin + id_bytes, target_bytes)
        return Remembered(
            self._text(begin, id_bytes),
            target,
            int(entry["kind"]),
            float(entry["value"]),
            float(entry["weight"]),
            int(entry["time"]),
            int(entry["partition"]),
            int(entry["offset"]),
        )

    def _text(self, begin: int, length: int) -> str:
        return self.texts.take(np.arange(begin, begin + length), mode="wrap").tobytes().decode()


@compiled(types.void(CHAINS, types.uint64))
def expect_chain(chains: Longs, low: np.uint64) -> None:
    """Begin to fetch the beginning of a prediction's chain."""
    prefetch(chains, np.int64(low) & (len(chains) - 1))


@compiled(types.void(SIGNALS, CHAINS, types.uint64))
def expect_newest(signals: Any, chains: Longs, low: np.uint64) -> None:
    """Begin to fetch the newest signal of a prediction's chain."""
    prefetch(signals, chains[np.int64(low) & (len(chains) - 1)] & (len(signals) - 1))


@compiled(types.int64(SIGNALS, CHAINS, TEXTS, NUMBERS, types.uint64, types.uint64, types.int64, types.int64[::1]))
def find(
    signals: Any,
    chains: Longs,
    texts: Octets,
    numbers: Longs,
    low: np.uint64,
    high: np.uint64,
    window_ms: int,
    found: Longs,
) -> int:
    """Write where in the ring the known signals of a prediction are, the newest first; return how many there are."""
    mask = len(signals) - 1
    oldest = max(numbers[NEXT] - len(signals) // 2, 1)
    oldest_text = numbers[TEXT_NEXT] - len(texts) // 2
    since_ms = numbers[WATERMARK] - window_ms
    count, steps = 0, 0
    number = chains[np.int64(low) & mask]
    while number >= oldest and count < FOUND_MAX and steps < _STEPS_MAX:
        signal = signals[number & mask]
        if signal.low == low and signal.high == high and signal.time >= since_ms and signal.text_at >= oldest_text:
            found[count] = number & mask
            count += 1
        number = signal.before
        steps += 1
    return count


@compiled(types.void(TEXTS, types.int64, BYTES, types.int64, types.int64))
def _copy(texts: Octets, to: int, given: Octets, begin: int, count: int) -> None:
    """Copy some bytes into the ring, at its end back to its beginning; `count` is not negative."""
    first = min(count, len(texts) - to)
    _memcpy(texts[to:].ctypes.data, given[begin:].ctypes.data, first)
    if count > first:
        _memcpy(texts.ctypes.data, given[begin + first :].ctypes.data, count - first)


@compiled(
    types.void(
        *(SIGNALS, CHAINS, TEXTS, NUMBERS, types.uint64, types.uint64),
        *(BYTES, types.int64, types.int64, BYTES, types.int64, types.int64),
    )
)
def put(
    signals: Any,
    chains: Longs,
    texts: Octets,
    numbers: Longs,
    low: np.uint64,
    high: np.uint64,
    ids: Octets,
    id_at: int,
    id_bytes: int,
    targets: Octets,
    target_at: int,
    target_bytes: int,
) -> None:
    """Enter the next entry into its chain, with its texts; the caller fills in what it says."""
    mask, text_mask = len(signals) - 1, len(texts) - 1
    number, text_at = numbers[NEXT], numbers[TEXT_NEXT]
    signal = signals[number & mask]
    signal.low, signal.high, signal.text_at = low, high, text_at
    signal.id_bytes, signal.target_bytes = id_bytes, target_bytes
    signal.before = chains[np.int64(low) & mask]
    chains[np.int64(low) & mask] = number
    _copy(texts, text_at & text_mask, ids, id_at, id_bytes)
    if target_bytes > 0:
        _copy(texts, (text_at + id_bytes) & text_mask, targets, target_at, target_bytes)
    numbers[TEXT_NEXT] = text_at + id_bytes + max(target_bytes, 0)
