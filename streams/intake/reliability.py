"""How far the signals of a source can be believed, learned from the outcomes that came of the same predictions.

A signal and an outcome of the same prediction, from two different sources, are one pair: did both say yes (0.5 or more)
or both no? A source's reliability is the chance-corrected agreement of its pairs, Cohen's kappa (J. Cohen, A
coefficient of agreement for nominal scales, Educational and Psychological Measurement 20/1, 1960, p. 40):

    kappa = (po - pe) / (1 - pe)      po: share of pairs that agree; pe: the share that would by chance, given how often
                                      each side says yes

so a source that always says yes has 0, however common success is. The factor on its weights is kappa, at least `floor`.
At first every source counts as if it had agreed in `prior` pairs, half of them yes: without outcomes its factor is 1,
and after n pairs the prior has `prior` / (n + `prior`) of the say. After each `halflife` further pairs older ones count
half (rounded down), so memory is 1 to 2 times that.

Explicit and implicit signals of a source are rated apart, since a click that does not convert is no lie about thumbs.
Outcomes themselves always count fully: they are what is trusted. Who may write them decides about all other sources, so
it should be few (by the topic's ACL, or by `outcome_sources`); a source is never rated by its own outcomes, nor by
suspicious ones. Verdicts (`correct`, `incorrect`) judge an answer that intake has not seen, so they are not rated.
"""

from __future__ import annotations

import base64

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import compiled
from rheostat.streams.intake.fingerprint import fingerprints

Words = NDArray[np.uint64]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

CHANNELS = 2
"""Those that are rated: explicit and implicit."""

PLACES = 32
"""Sources (by channel) that are rated by themselves, those with pairs first; all further ones share one more place."""

_RECORD = np.dtype([("key", "<u8"), ("pairs", "<u2", (4,))])

KEYS, PAIRS, FACTORS = types.uint64[::1], types.int64[:, ::1], types.float64[::1]


class Reliability:
    """The pairs of every source: [said no, no came], [no, yes], [yes, no], [yes, yes]; keys are 0 where not taken."""

    def __init__(self) -> None:
        self.keys = np.zeros(PLACES + 1, np.uint64)
        self.pairs = np.zeros((PLACES + 1, 4), np.int64)
        self.factors = np.ones(PLACES + 1)

    def factor(self, key: int) -> float:
        """Return the factor on the weights of one source and channel, see `key_of`."""
        at = place(self.keys, np.uint64(key))
        return 1.0 if at < 0 else float(self.factors[at])

    def of(self, name: str) -> float | None:
        """Return the least factor on the weights of a source, None if nothing is known of it."""
        source = fingerprints(pa.array([name], pa.string())).low[0]
        places = [place(self.keys, key_of(source, channel)) for channel in range(CHANNELS)]
        return min((float(self.factors[at]) for at in places if at >= 0), default=None)

    def as_text(self) -> str:
        """Return all pairs in at most 704 characters."""
        used = int(np.count_nonzero(self.keys[:PLACES]))
        rows = [*range(used), *([PLACES] if self.pairs[PLACES].any() else [])]
        records = np.zeros(len(rows), _RECORD)
        records["key"], records["pairs"] = self.keys[rows], self.pairs[rows]
        return base64.b64encode(records.tobytes()).decode()

    def restore(self, text: str, floor: float, prior: float) -> None:
        """Take over pairs given as text. Raises ValueError if they are none."""
        records = np.frombuffer(base64.b64decode(text, validate=True), _RECORD)
        own = records[records["key"] != 0]
        self.keys[: len(own)], self.pairs[: len(own)] = own["key"], own["pairs"]
        self.pairs[PLACES] = records["pairs"][records["key"] == 0].sum(axis=0)
        for at in range(PLACES + 1):
            self.factors[at] = factor_of(self.pairs, at, floor, prior)


@compiled(types.uint64(types.uint64, types.int64))
def key_of(source: np.uint64, channel: int) -> np.uint64:
    """Return what a source is known by on a channel, never 0; `source` is the low half of its name's fingerprint."""
    return (source << np.uint64(2)) | np.uint64(channel + 1)


@compiled(types.int64(KEYS, types.uint64))
def place(keys: Words, key: np.uint64) -> int:
    """Return a source's place, the shared one if all are taken by others, -1 if it has none yet."""
    for at in range(PLACES):
        if keys[at] == key:
            return at
        if keys[at] == 0:
            return -1
    return PLACES


@compiled(types.float64(PAIRS, types.int64, types.float64, types.float64))
def factor_of(pairs: Longs, at: int, floor: float, prior: float) -> float:
    """Return the factor of a place: kappa with the prior's pairs, at least `floor`."""
    no, yes = pairs[at, 0] + prior / 2, pairs[at, 3] + prior / 2
    too_low, too_high = pairs[at, 1], pairs[at, 2]
    count = no + yes + too_low + too_high
    by_chance = ((yes + too_high) * (yes + too_low) + (no + too_low) * (no + too_high)) / (count * count)
    if by_chance >= 1.0:
        return 1.0
    return float(max(floor, ((no + yes) / count - by_chance) / (1.0 - by_chance)))


@compiled(
    types.void(
        *(KEYS, PAIRS, FACTORS, types.uint64, types.boolean, types.boolean),
        *(types.float64, types.float64, types.int64),
    )
)
def add_pair(
    keys: Words,
    pairs: Longs,
    factors: Floats,
    key: np.uint64,
    said: bool,
    came: bool,
    floor: float,
    prior: float,
    halflife: int,
) -> None:
    """Add what a source said and what came of it."""
    at = place(keys, key)
    if at < 0:
        at = 0
        while keys[at]:
            at += 1
        keys[at] = key
    pairs[at, 2 * np.int64(said) + np.int64(came)] += 1
    if pairs[at].sum() >= 2 * halflife:
        pairs[at] >>= 1
    factors[at] = factor_of(pairs, at, floor, prior)
