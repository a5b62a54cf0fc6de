"""A row of bars for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, low: float, high: float) -> str:
    """Return the values as bars, the newest at the right; values outside [low, high] are cut off.

    Of more values than `width`, the last of each of as many runs is shown.
    """
    if len(values) > width:
        step = len(values) / width
        values = [values[int((index + 1) * step) - 1] for index in range(width)]
    span = len(BARS) - 1
    return "".join(BARS[round(min(max((value - low) / (high - low), 0.0), 1.0) * span)] for value in values)
