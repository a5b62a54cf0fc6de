"""The distribution function of the normal distribution, in numpy."""

from __future__ import annotations

import numpy as np

from rheostat.learners.contract import Floats

_P = 0.3275911
_TERMS = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def normal_cdf(x: Floats) -> Floats:
    """Return P(X <= x) for a standard normal X, to 1e-7: Abramowitz and Stegun (1964), 7.1.26."""
    size = np.abs(x) * np.sqrt(0.5)
    t = 1.0 / (1.0 + _P * size)
    polynomial = np.zeros_like(t)
    for term in reversed(_TERMS):
        polynomial += term
        polynomial *= t
    upper = 0.5 * polynomial * np.exp(-size * size)
    below: Floats = np.where(x > 0.0, 1.0 - upper, upper)
    return below
