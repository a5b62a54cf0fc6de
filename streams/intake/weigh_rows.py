"""The loop that weighs entries one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BOOLS, BYTES, FLOATS, INTS, LONGS, WORDS, compiled
from rheostat.streams.intake.conflicts import CONTROL, LABEL, VOTE, overrule, share_of_yes, side_of
from rheostat.streams.intake.influence import ACTORS, HOURS, charge, expect_actor, turn, used_up
from rheostat.streams.intake.pairs import OUTCOMES, rate
from rheostat.streams.intake.recent_signals import (
    CALM,
    CHAINS,
    FOUND_MAX,
    LOST,
    NEXT,
    NUMBERS,
    OUTCOME,
    SIGNALS,
    TEXT_BYTES_MAX,
    TEXTS,
    WATERMARK,
    expect_chain,
    expect_newest,
    find,
    put,
)
from rheostat.streams.intake.reliability import FACTORS, KEYS, PAIRS, key_of, place

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Octets = NDArray[np.uint8]
Ints = NDArray[np.int32]

PLAIN, CAPPED, OVERRULED, VOTED = range(4)
"""What may happen to an entry's weight besides the factor of its source."""

AHEAD = 8
"""Rows between the steps of fetching what a row will look up."""


@compiled(types.boolean(WORDS, types.uint64))
def _trusted(outcome_sources: Words, source: np.uint64) -> bool:
    """Return whether outcomes of a source rate others; those of all do where none is named."""
    for each in outcome_sources:
        if each == source:
            return True
    return len(outcome_sources) == 0


@compiled(
    types.int64(
        *(SIGNALS, CHAINS, TEXTS, NUMBERS, ACTORS, HOURS, KEYS, PAIRS, FACTORS, LONGS),
        *(BOOLS, WORDS, WORDS, BOOLS, WORDS, WORDS, WORDS, BYTES, INTS, BYTES, INTS),
        *(INTS, FLOATS, LONGS, FLOATS, FLOATS, BOOLS, INTS, LONGS),
        *(LONGS, LONGS, LONGS, WORDS, types.float64, types.float64, types.float64),
        *(types.float64, types.float64, types.int64, types.int64, types.int64, types.boolean),
        *(types.float64[::1], types.int8[::1], types.float64[::1]),
        *(types.int64[::1], types.int64[::1], types.int64[::1], types.float64[::1]),
    )
)
def weigh_rows(
    signals: Any,
    chains: Longs,
    texts: NDArray[np.uint8],
    numbers: Longs,
    charged: Any,
    hours: Longs,
    keys: Words,
    pairs: Longs,
    factors: Floats,
    rows: Longs,
    about: Mask,
    predictions: Words,
    predictions_high: Words,
    by: Mask,
    actors: Words,
    sources: Words,
    events: Words,
    ids: Octets,
    id_offsets: Ints,
    targets: Octets,
    target_offsets: Ints,
    kinds: Ints,
    values: Floats,
    times_ms: Longs,
    weights: Floats,
    suspicions: Floats,
    lost: Mask,
    partitions: Ints,
    offsets: Longs,
    channels: Longs,
    kind_bases: Longs,
    kind_ranks: Longs,
    outcome_sources: Words,
    suspicious_at: float,
    weight_max: float,
    margin: float,
    floor: float,
    prior: float,
    halflife: int,
    policy: int,
    window_ms: int,
    again: bool,
    weighed: Floats,
    verdicts: NDArray[np.int8],
    own_factors: Floats,
    opponents: Longs,
    places: Longs,
    causes: Longs,
    keeps: Floats,
) -> int:
    """Weigh rows and enter them; `again` if they are in the ledger already, as they are.

    Writes each row's weight, verdict and factor, and the place of what it lost to; and of every correction the place
    of the entry, the row that caused it and what the entry keeps. Returns how many corrections there are.
    """
    found, losers, outcome = np.empty(FOUND_MAX, np.int64), np.empty(FOUND_MAX, np.int64), np.empty(1, np.int64)
    made = 0
    for step in range(len(rows) + 2 * AHEAD):
        if step < len(rows):
            soon = rows[step]
            expect_chain(chains, predictions[soon])
            expect_actor(charged, hours, times_ms[soon], actors[soon])
        if AHEAD <= step < len(rows) + AHEAD:
            expect_newest(signals, chains, predictions[rows[step - AHEAD]])
        if step < 2 * AHEAD:
            continue
        row = rows[step - 2 * AHEAD]
        kind, time_ms, weight = kinds[row], times_ms[row], weights[row]
        channel, basis = channels[kind], kind_bases[kind]
        calm, overruled_before = suspicions[row] < suspicious_at, again and lost[row]
        source, actor = sources[row], actors[row]
        numbers[WATERMARK] = max(numbers[WATERMARK], time_ms)
        factor, verdict = 1.0, PLAIN
        if not again:
            if channel < OUTCOMES:
                at = place(keys, key_of(source, channel))
                factor = factors[at] if at >= 0 else 1.0
            weight *= factor
            if weight > 0.0 and by[row]:
                turn(charged, hours, numbers[WATERMARK])
                if used_up(charged, hours, time_ms, actor) + weight > weight_max:
                    weight, verdict = 0.0, CAPPED
        id_at, id_end = id_offsets[row], id_offsets[row + 1]
        if about[row] and basis != CONTROL and (weight > 0.0 or overruled_before):
            low, high = predictions[row], predictions_high[row]
            count = find(signals, chains, texts, numbers, low, high, window_ms, found)
            target_at = target_offsets[row]
            target_bytes = target_offsets[row + 1] - target_at
            if target_bytes == 0 or target_bytes > TEXT_BYTES_MAX:
                target_bytes = -1
            at = numbers[NEXT] & (len(signals) - 1)
            put(
                signals, chains, texts, numbers, low, high, ids, id_at, id_end - id_at, targets, target_at, target_bytes
            )
            signal = signals[at]
            signal.event, signal.source, signal.time = events[row], source, time_ms
            signal.partition, signal.offset = partitions[row], offsets[row]
            signal.kind, signal.value, signal.weight = kind, values[row], weight
            signal.rank, signal.side = kind_ranks[kind], side_of(values[row], margin)
            signal.flags = (CALM if calm else 0) | (LOST if overruled_before else 0)
            if calm and channel == OUTCOMES and _trusted(outcome_sources, source):
                signal.flags |= OUTCOME
            alike = 0
            for index in range(count):
                if kind_bases[signals[found[index]].kind] == basis:
                    found[alike] = found[index]
                    alike += 1
            if not again and basis == LABEL and alike > 0 and calm:
                rate(signals, at, found, alike, channels, keys, pairs, factors, floor, prior, halflife)
            if policy < VOTE and signal.side != 0 and alike > 0:
                overruled = overrule(signals, at, found, alike, losers, outcome)
                if not again:
                    for index in range(overruled):
                        places[made], causes[made], keeps[made] = losers[index], row, 0.0
                        made += 1
                    if outcome[0] >= 0:
                        weight, verdict, opponents[row] = 0.0, OVERRULED, outcome[0]
                        signal.weight = 0.0
            elif policy == VOTE and signal.side != 0 and alike > 0 and not again:
                yes = share_of_yes(signals, at, found, alike)
                for index in range(alike + 1 if yes >= 0.0 else 0):
                    one = at if index == alike else found[index]
                    if signals[one].side != 0:
                        places[made], causes[made] = one, row
                        keeps[made] = yes if signals[one].side > 0 else 1.0 - yes
                        made += 1
                        verdict = VOTED
        numbers[NEXT] += 1
        if not again and weight > 0.0 and by[row]:
            charge(charged, hours, time_ms, actor, weight)
        weighed[row], verdicts[row], own_factors[row] = weight, verdict, factor
    return made
