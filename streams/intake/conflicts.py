"""Signals on one prediction that contradict each other: which of them count, by a named policy.

A signal says yes from 0.5 + `margin` on and no up to 0.5 - `margin`; between them it says neither. A yes and a no on
one prediction contradict each other, whoever gave them: a prediction is one answer, shown to one user, and the join
makes one label of it. Only signals of one basis are compared: a verdict on the answer and a label say different things.

    explicit-first  a signal stands unless one that contradicts it outranks it: explicit signals and outcomes outrank
                    implicit ones; among equals the newer one, by event time, outranks the older
    latest          the same by event time alone
    weighted-vote   each keeps the share that its side has of the weight of both sides
    keep-all        contradictions stay

Of equally new signals the one with the larger fingerprint of its id is the newer. A signal that lost still outranks
others: so what stands in the end does not depend on the order in which signals came, as far as they are remembered.
A signal without weight takes no part, and a suspicious one overrules nobody. A retraction is no signal.

By the first two policies what loses as it comes has a weight of 0 in the ledger, and what lost to a later one is
corrected. A share may rise as well as fall, so by `weighted-vote` the ledger has the full weight, and each event that
changes the shares comes with a correction of all that are remembered, itself among them.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.signals import KINDS
from rheostat.streams.compiled import compiled
from rheostat.streams.intake.recent_signals import CALM, LOST, SIGNAL_TYPE, SIGNALS
from rheostat.streams.intake.settings import ConflictPolicy

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

POLICIES: tuple[str, ...] = get_args(ConflictPolicy)
VOTE = POLICIES.index("weighted-vote")
"""The policies before this one let a signal lose or stand as a whole."""

CONTROL, VERDICT, LABEL = range(3)
_BASES = np.array([("control", "verdict", "label").index(kind.basis) for kind in KINDS.values()])


def bases() -> NDArray[np.int64]:
    """Return the basis of each kind by its code; signals are compared within one."""
    return _BASES


def ranks(policy: ConflictPolicy) -> NDArray[np.int64]:
    """Return the rank of each kind by its code."""
    by_channel = policy == "explicit-first"
    return np.array([int(by_channel and kind.channel in ("explicit", "outcome")) for kind in KINDS.values()])


@compiled(types.int64(types.float64, types.float64))
def side_of(value: float, margin: float) -> int:
    """Return 1 for a yes, -1 for a no, 0 for neither."""
    return int(value >= 0.5 + margin) - int(value <= 0.5 - margin)


@compiled(types.boolean(SIGNAL_TYPE, SIGNAL_TYPE))
def _outranks(one: Any, other: Any) -> bool:
    if one.rank != other.rank:
        return bool(one.rank > other.rank)
    if one.time != other.time:
        return bool(one.time > other.time)
    return bool(one.event > other.event)


@compiled(types.int64(SIGNALS, types.int64, types.int64[::1], types.int64, types.int64[::1], types.int64[::1]))
def overrule(signals: Any, at: int, found: Longs, count: int, losers: Longs, outcome: Longs) -> int:
    """Let the signal at a place of the ring meet the `count` found ones that are comparable with it.

    Writes into `losers` which of them lose to it now, and returns how many those are; `outcome[0]` becomes the place of
    the one that it lost to, the highest in rank, or -1. Marks what lost.
    """
    signal = signals[at]
    outcome[0] = -1
    lost = 0
    for index in range(count):
        other = signals[found[index]]
        if other.side * signal.side >= 0:
            continue
        if _outranks(other, signal):
            if other.flags & CALM and (outcome[0] < 0 or _outranks(other, signals[outcome[0]])):
                outcome[0] = found[index]
        elif signal.flags & CALM and not other.flags & LOST:
            other.flags |= LOST
            losers[lost] = found[index]
            lost += 1
    if outcome[0] >= 0:
        signal.flags |= LOST
    return lost


@compiled(types.float64(SIGNALS, types.int64, types.int64[::1], types.int64))
def share_of_yes(signals: Any, at: int, found: Longs, count: int) -> float:
    """Return the share of yes in the weight of a signal and the found ones; -1 if nobody contradicts anybody."""
    yes, no = 0.0, 0.0
    for index in range(count + 1):
        signal = signals[at] if index == count else signals[found[index]]
        if signal.side > 0:
            yes += signal.weight
        elif signal.side < 0:
            no += signal.weight
    return yes / (yes + no) if yes > 0.0 and no > 0.0 else -1.0
