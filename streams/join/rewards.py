"""What all signals on one prediction are worth together: the reward functions.

    each       every signal teaches by itself, as soon as it is there
    earliest   the label of the first signal, by event time        latest   that of the last
    sum        of all labels, at most 1                            mean     weighted by what the signals count
    min        the smallest label                                  max      the largest

All but `each` are known when the window of the prediction closes, and make one example of it. Its weight is that of
the signal whose label it is; of a sum or a mean, the largest of all. Signals that count nothing have no part in it.
Of signals with the same time or label the one with the larger fingerprint is taken: the order of arrival never counts.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import LONGS, compiled
from rheostat.streams.join.answers import ANSWERS, Floats, Nodes
from rheostat.streams.join.rows import TABLE, Mask, Slots, Table
from rheostat.streams.join.settings import Reward

REWARDS: tuple[str, ...] = get_args(Reward)

_SUMS, _PLACES = types.float64[::1], types.int64[::1]
_EARLIEST, _LATEST, _SUM, _MEAN, _MIN, _MAX = range(1, len(REWARDS))


class Merged(NamedTuple):
    """Of each prediction: whether a signal counts, what they are worth together, our own answer's node (0: none).

    answered: whether there is any signal at all, even one that counts nothing any more.
    """

    counts: Mask
    labels: Floats
    weights: Floats
    own: Nodes
    answered: Mask


def merged(rows: Table, answers: Table, slots: Slots, reward: Reward) -> Merged:
    """Merge the signals of predictions by a reward function; of `each` label and weight mean nothing."""
    labels, weights = np.zeros(len(slots)), np.zeros(len(slots))
    own, signals = np.zeros(len(slots), np.int64), np.zeros(len(slots), np.int64)
    _merge(rows, answers, slots, REWARDS.index(reward), labels, weights, own, signals)
    return Merged(weights > 0.0, labels, weights, own, signals > 0)


@compiled(types.boolean(ANSWERS, types.int64, types.int64, types.int64))
def _takes_over(answers: Table, at: int, chosen: int, how: int) -> bool:
    """Return whether the label of one answer goes before that of the one chosen so far."""
    one, other = answers[at], answers[chosen]
    if how == _EARLIEST and one.time != other.time:
        return bool(one.time < other.time)
    if how == _LATEST and one.time != other.time:
        return bool(one.time > other.time)
    if how == _MIN and one.label != other.label:
        return bool(one.label < other.label)
    if how == _MAX and one.label != other.label:
        return bool(one.label > other.label)
    return bool(one.low > other.low)


@compiled(types.void(TABLE, ANSWERS, LONGS, types.int64, _SUMS, _SUMS, _PLACES, _PLACES))
def _merge(
    rows: Table,
    answers: Table,
    slots: Slots,
    how: int,
    labels: Floats,
    weights: Floats,
    own: Nodes,
    signals: NDArray[np.int64],
) -> None:
    for index in range(len(slots)):
        at = rows[slots[index]].answer
        chosen, mass, total, largest = 0, 0.0, 0.0, 0.0
        while at:
            answer = answers[at]
            if answer.own:
                own[index] = at
            else:
                signals[index] += 1
                if answer.weight > 0.0:
                    mass += answer.weight
                    total += answer.label * (answer.weight if how == _MEAN else 1.0)
                    largest = max(largest, answer.weight)
                    if not chosen or _takes_over(answers, at, chosen, how):
                        chosen = at
            at = answer.next
        if chosen:
            labels[index], weights[index] = answers[chosen].label, answers[chosen].weight
            if how in (_SUM, _MEAN):
                labels[index] = min(total / mass if how == _MEAN else total, 1.0)
                weights[index] = largest
