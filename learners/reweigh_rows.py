"""What each row counts, one after the other: by its propensity over the mean so far, and by how loud its stratum is.

Compiled, since every row moves the sums that the next one is measured by. All sums decay by the same factor per row.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.learners.compiled import FLOATS, WORDS, compiled
from rheostat.learners.contract import Floats

ROWS_PRESENT = 10.0
"""A stratum with fewer rows in memory is learned as it comes, and takes nothing from others."""

_ROWS_FORGOTTEN = 0.5
_COUNTED_MAX = 1e12
_SUMS, _KEYS = types.float64[::1], types.uint64[::1]
_FLOAT, _INT = types.float64, types.int64


@compiled(_INT(types.uint64, _KEYS, _SUMS, _SUMS))
def place_of(stratum: int, keys: NDArray[np.uint64], rows: Floats, influence: Floats) -> int:
    """Return a stratum's place: its own, one whose rows are forgotten, emptied for it, or the last, of all others."""
    free = len(keys) - 1
    for place in range(len(keys) - 1):
        if rows[place] < _ROWS_FORGOTTEN:
            free = min(free, place)
        elif keys[place] == stratum:
            return place
    if free < len(keys) - 1:
        keys[free], rows[free], influence[free] = stratum, 0.0, 0.0
    return free


@compiled(_FLOAT(_INT, _SUMS, _SUMS, _FLOAT, _FLOAT))
def stratum_factor(place: int, rows: Floats, influence: Floats, share_max: float, factor_max: float) -> float:
    """Return what the rows of a stratum are multiplied by, so that none has more than its share of all influence.

    What is above `share_max`, or above an equal share where there are too few strata for that, goes to the others in
    proportion to what they have (water-filling). Factors are in [1 / factor_max, factor_max]: where a quiet stratum
    would need more, all get less.
    """
    if rows[place] < ROWS_PRESENT:
        return 1.0
    present, total = 0, 0.0
    for each in range(len(rows)):
        if rows[each] >= ROWS_PRESENT:
            present += 1
            total += influence[each]
    share = max(share_max, 1.0 / present)
    if influence[place] <= 0.0 or share >= 1.0:
        return 1.0
    # `lift` is what strata below `loud` are multiplied by; it rises until no more of them come above their share.
    loud, lift = np.inf, 1.0
    while share * total / lift < loud:
        loud = share * total / lift
        above, rest = 0, 0.0
        for each in range(len(rows)):
            if rows[each] >= ROWS_PRESENT:
                if influence[each] > loud:
                    above += 1
                else:
                    rest += influence[each]
        left = 1.0 - share * above
        if above == 0 or left <= 0.0 or rest <= 0.0:
            break
        lift = left * total / rest
    factor = share * total / influence[place] if influence[place] > loud else lift
    return min(max(factor * min(1.0, factor_max / lift), 1.0 / factor_max), factor_max)


@compiled(
    types.void(FLOATS, FLOATS, WORDS, _FLOAT, types.boolean, _FLOAT, _FLOAT, _SUMS, _KEYS, _SUMS, _SUMS, _SUMS)
)  # fmt: skip
def reweigh(
    weight: Floats,
    factor: Floats,
    stratum: NDArray[np.uint64],
    kept: float,
    normalised: bool,
    share_max: float,
    factor_max: float,
    sums: Floats,
    keys: NDArray[np.uint64],
    rows: Floats,
    influence: Floats,
    found: Floats,
) -> None:
    """Write what each row counts to `found`, and move the sums.

    weight: of each row, > 0. factor: what its propensity multiplies it by, 0 where none was logged. kept: what a row
    leaves of the sums before it. sums: of weight * factor and of weight, over the rows with a factor. keys, rows,
    influence: of each stratum its hash, and what is in memory of its rows and of what they counted before balancing.
    """
    for row in range(len(weight)):
        counts = weight[row]
        if factor[row] > 0.0:
            counted = min(counts, _COUNTED_MAX)
            counts = counted * factor[row]
            sums[0] = sums[0] * kept + counted * factor[row]
            sums[1] = sums[1] * kept + counted
            if normalised and sums[0] > 0.0:
                counts *= sums[1] / sums[0]
        for place in range(len(rows)):
            rows[place] *= kept
            influence[place] *= kept
        place = place_of(stratum[row], keys, rows, influence)
        rows[place] += 1.0
        influence[place] += min(counts, _COUNTED_MAX)
        found[row] = counts * stratum_factor(place, rows, influence, share_max, factor_max)
