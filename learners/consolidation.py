"""What a slow core takes from a fast surface that decays: what was learned anew in several periods in a row.

One `Past` belongs to one parameter, an array. With surface s at the end of a period, and n periods that must agree:

    gain       g = s - (s at the period's start, decayed since): what was learned anew in the period
    agreement  where the last n gains have one sign, they agree on the smallest of them, in size
    move       what they agree on, divided by q, passes from surface to core, at most all of s and nothing against its
               sign; q is the share of the surface that decays in a period

A gain of g in every period holds a surface of g / q against its decay: that is the change which the gains stand for.
What lasts fewer than n periods moves the core by no more than the noise of the smallest of n gains, whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors
from rheostat.learners.layout import take

ROUNDING = 1e-4
"""A gain below this share of the surface is what rounding makes of no gain at all."""

Numbers = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier periods leave behind.

    carried: what the surface would be now had nothing been learned in this period. gains: (periods - 1, ...), those of
    the last periods in which the parameter learned something, oldest first.
    """

    carried: Numbers
    gains: Numbers

    @staticmethod
    def none(like: Numbers, periods: int) -> Past:
        """Return the past of a parameter that was never learned, of which so many periods must agree."""
        return Past(np.zeros_like(like), np.zeros((periods - 1, *like.shape), like.dtype))

    def taken(self, tensors: Tensors, name: str) -> Past:
        """Return the past that a snapshot holds for parameter `name`; ValueError unless it is shaped as this one."""
        fields = {"carried": self.carried, "gains": self.gains}
        found = {
            field: take(tensors, f"{field}.{name}", like.dtype.type, like.shape).copy()
            for field, like in fields.items()
        }
        return Past(found["carried"], found["gains"])

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return copies for a snapshot."""
        return {f"carried.{name}": self.carried.copy(), f"gains.{name}": self.gains.copy()}

    def decayed(self, left: float) -> Past:
        """Return the past when the share `left` of the surface is left."""
        return replace(self, carried=self.carried * self.carried.dtype.type(left))

    def period_ended(self, surface: Numbers, lost_per_period: float) -> tuple[Numbers, Past]:
        """Return what moves from the surface to the core at the end of a period, and the past of the next one.

        A parameter that learned nothing in the period keeps its gains, and nothing but rounding moves.
        """
        gain = surface - self.carried
        silent = np.abs(gain) <= ROUNDING * np.maximum(np.abs(surface), np.abs(self.carried))
        window = np.concatenate([self.gains, gain[None]])
        lasts = (np.sign(window) == np.sign(surface)).all(axis=0)
        agreed = np.abs(window).min(axis=0) / lost_per_period
        size = np.where(lasts, np.minimum(agreed, np.abs(surface)), 0.0)
        moved = np.copysign(size, surface).astype(surface.dtype)
        return moved, Past(surface - moved, np.where(silent, self.gains, window[1:]))
