"""Which examples stand among those that were given, revised and taken back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def standing(example_ids: pa.Array, revisions: NDArray[np.integer], weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the places, rising, of the examples that count, given all records of them in the order of the log.

    Of each it is the last revision, unless that takes it back (weight 0). Revisions below 0 are no examples.
    """
    if not revisions.any():
        return np.arange(len(revisions))
    codes = example_ids.dictionary_encode().indices.to_numpy()
    given = np.flatnonzero(revisions >= 0)
    last = np.full(codes.max() + 1, -1, np.intp)
    last[codes[given]] = given
    kept = np.sort(last[last >= 0])
    taken_back = (revisions[kept] > 0) & (weights[kept] == 0.0)
    return np.asarray(kept[~taken_back], np.intp)
