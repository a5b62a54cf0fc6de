"""What a signal says about the prediction, as a label in [0, 1].

basis     label
verdict   the answer shown was `score >= 0.5`. A verdict of v (1: right, 0: wrong) keeps it or turns it over:
          v where the answer was positive, 1 - v where it was negative
label     the normalised value itself (a thumb, a rating, a click, a conversion, the label of a correction)
control   none; nor has a kind that is not in the taxonomy (rheostat.schemas.signals)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rheostat.schemas import signals

Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
POSITIVE_AT = 0.5

# One entry more than kinds: code -1, an unknown kind, indexes the last.
RETRACTION = "retraction"
_RETRACTION = list(signals.KINDS).index(RETRACTION)
_VERDICT = np.array([*(kind.basis == "verdict" for kind in signals.KINDS.values()), False])
_TEACHES = np.array([*(kind.basis != "control" for kind in signals.KINDS.values()), False])


def teaches(codes: Codes) -> NDArray[np.bool_]:
    """Return which kinds give a label; they are given by their codes (`signals.codes_of`)."""
    return _TEACHES[codes]


def retract(codes: Codes) -> NDArray[np.bool_]:
    """Return which kinds take another event back."""
    retracts: NDArray[np.bool_] = codes == _RETRACTION
    return retracts


def labels(codes: Codes, values: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Return the label of each signal; of kinds that do not teach it means nothing.

    values are normalised; positive: a score of `POSITIVE_AT` or more was served.
    """
    overturned = _VERDICT[codes] & ~positive
    return np.where(overturned, 1.0 - values, values)
