"""What a model that chooses does besides scoring, and the chance that it is given: from the id of the prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was chosen, one entry a row.

    action: int64, the place in `FeatureSchema.actions`. propensity: the probability it had, in (0, 1]. score: its
    expected reward, in [0, 1].
    """

    action: NDArray[np.int64]
    propensity: Floats
    score: Floats


@runtime_checkable
class Chooser(Protocol):
    """What a predictor whose model has actions does besides."""

    def choose(self, batch: Batch, uniforms: Floats, eligible: NDArray[np.bool_] | None = None) -> Choice:
        """Choose an action for each row. The same rows, uniforms and eligible actions give the same choice.

        uniforms: float64 (rows,) in [0, 1). eligible: bool (rows, actions), at least one of each row; None for all.
        """
        ...


def uniforms_of(model: str, prediction_ids: Iterable[str]) -> Floats:
    """Return a number in [0, 1) for each id: 53 bits of its BLAKE2b hash, keyed with the model's name.

    So a choice can be made again from the log: the same id and version give the same action. Two models that are asked
    under one id choose independently. Raises ValueError for a name of more than 64 bytes.
    """
    key = model.encode()
    digests = (hashlib.blake2b(each.encode(), digest_size=8, key=key).digest() for each in prediction_ids)
    bits = np.array([int.from_bytes(digest, "little") >> 11 for digest in digests], np.uint64)
    return bits.astype(np.float64) * 2.0**-53
