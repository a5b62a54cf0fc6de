"""Whether a text on a target is nearly the same as one that somebody else has just written there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from rheostat.streams.compiled import compiled
from rheostat.streams.intake.likeness import NEAR_BITS, differing_bits

TEXTS_KEPT = 16
"""Of each target so many of the newest texts are compared."""

_NEVER = np.iinfo(np.int64).min // 4

_TEXTS = np.dtype(
    [
        ("owner", "u8"),
        ("written", "i8"),
        ("hashes", "u8", (TEXTS_KEPT,)),
        ("writers", "u8", (TEXTS_KEPT,)),
        ("seconds", "i8", (TEXTS_KEPT,)),
        ("copied", "u1", (TEXTS_KEPT,)),
    ],
    align=True,
)
"""The newest texts of a target: its fingerprint, how many it ever got, and of each of the newest the SimHash, the
writer, the second, and whether somebody else wrote one near it in the same or the next second."""

TEXTS_TYPE: Any = from_dtype(_TEXTS)


def texts_table(slots: int) -> NDArray[np.void]:
    """Return an empty table with room for the texts of so many targets, a power of two; about 420 bytes each."""
    table = np.zeros(slots, _TEXTS)
    table["seconds"] = _NEVER
    return table


@compiled(types.boolean(TEXTS_TYPE[::1], *(types.uint64,) * 4, types.int64))
def write_text(table: Any, low: np.uint64, high: np.uint64, text: np.uint64, writer: np.uint64, second: int) -> bool:
    """Keep a text; return whether somebody else wrote nearly the same on this target in this or the previous second.

    low, high: the target's fingerprint. text: its SimHash. second: never less than that of the target's text before.
    Of two targets that share a place in the table one is looked at, the other not while the first gets texts.
    """
    texts = table[np.int64(high & np.uint64(len(table) - 1))]
    owner = low | np.uint64(1)
    if texts.owner != owner:
        if texts.seconds[(texts.written - 1) % TEXTS_KEPT] >= second - 1:
            return False
        texts.owner = owner
        texts.written = 0
        texts.seconds[:] = _NEVER
    copied = False
    for at in range(TEXTS_KEPT):
        recent = texts.seconds[at] >= second - 1 and texts.writers[at] != writer
        if recent and differing_bits(texts.hashes[at], text) <= NEAR_BITS:
            copied = True
            texts.copied[at] = 1
    at = texts.written % TEXTS_KEPT
    texts.hashes[at] = text
    texts.writers[at] = writer
    texts.seconds[at] = second
    texts.copied[at] = copied
    texts.written += 1
    return copied


@compiled(types.UniTuple(types.int64, 2)(TEXTS_TYPE[::1], types.uint64, types.uint64, types.int64))  # type: ignore[no-untyped-call]
def count_texts(table: Any, low: np.uint64, high: np.uint64, second: int) -> tuple[int, int]:
    """Return how many of a target's newest texts are of this or the previous second, and how many of them copies."""
    texts = table[np.int64(high & np.uint64(len(table) - 1))]
    recent, copied = 0, 0
    if texts.owner == low | np.uint64(1):
        for at in range(TEXTS_KEPT):
            if texts.seconds[at] >= second - 1:
                recent += 1
                copied += texts.copied[at]
    return recent, copied
