"""Reasons of events, in words: several of one event stand behind each other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Reason = tuple[NDArray[np.intp], str]
"""Rows, each once, and what there is to say of them."""


def add_reasons(column: NDArray[np.object_], reasons: Iterable[Reason]) -> None:
    """Add reasons to a column of strings, None where nothing has been said."""
    for rows, reason in reasons:
        column[rows] = [f"{each}; {reason}" if each else reason for each in column[rows]]
