"""Where ids that have a row of their own in an embedding table are found: what serving needs of `idadmission`.

An id is the 64-bit hash of a category. Rows lie in buckets of `WAYS`, as lines do in a set-associative cache, so that
an id is found, let in or turned away by looking at one bucket. `keys` holds the id of every row, 0 for a free one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WAYS = 8
"""Rows of a bucket."""

SKETCH_ROWS = 4
COUNT_MAX = 255

BUCKET_FACTOR = np.uint64(0xD6E8FEB86659FD93)
"""Odd; the high bits of its product with an id tell the bucket (Dietzfelbinger et al. 1997)."""

Ids = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IdSettings:
    """Who gets a row of his own.

    rows_bits: there are 2**rows_bits such rows. admit_after: an id gets one when it is seen for this many-th time; its
    count is halved whenever ids without a row were seen 2**sketch_bits / 8 times. expire_after_rows: an id that was not
    seen for more rows than this may lose its row to a newcomer; the one seen longest ago goes first. expire_after_ms:
    time of the events instead; needs batches with a context.
    """

    rows_bits: int = 16
    admit_after: int = 2
    expire_after_rows: int = 1_000_000
    expire_after_ms: int | None = None
    sketch_bits: int = 18

    def __post_init__(self) -> None:
        if not 3 <= self.rows_bits <= 26 or not 4 <= self.sketch_bits <= 30:
            raise ValueError("need rows_bits of ids in [3, 26] and sketch_bits in [4, 30]")
        if not 1 <= self.admit_after <= COUNT_MAX:
            raise ValueError(f"need admit_after in [1, {COUNT_MAX}]")
        if self.expire_after < 1:
            raise ValueError("need expire_after_rows or expire_after_ms of at least 1")

    @property
    def rows(self) -> int:
        """How many ids can have a row at once."""
        return 1 << self.rows_bits

    @property
    def expire_after(self) -> int:
        """Rows, or milliseconds where `expire_after_ms` is set."""
        return self.expire_after_rows if self.expire_after_ms is None else self.expire_after_ms

    @property
    def memory_bytes(self) -> int:
        """What an `IdTable` with these settings takes: keys, times, marks, and counters."""
        return self.rows * (8 + 8 + 1) + (SKETCH_ROWS << self.sketch_bits)


def own_rows(keys: Ids, ids: Ids) -> Rows:
    """Return each id's own row, -1 for one that has none; `keys` has a power of two of buckets."""
    first = (((ids * BUCKET_FACTOR) >> np.uint64(1)) >> np.uint64(bucket_shift(len(keys)))).astype(np.int64)
    # A free row has the key of a missing value, which is no id.
    hits = (keys.reshape(-1, WAYS)[first] == ids[..., None]) & (ids != 0)[..., None]
    return np.where(hits.any(axis=-1), first * WAYS + hits.argmax(axis=-1), -1)


def bucket_shift(rows: int) -> int:
    """Return by how much half of the product is shifted right to tell the bucket: a shift by all 64 is not defined."""
    return 63 - ((rows // WAYS).bit_length() - 1)
