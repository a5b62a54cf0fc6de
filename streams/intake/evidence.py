"""How suspicious a burst is: not only that more came than usual, but also who came and what they said.

Evidence, in nats:

    rate        of n events where e are usual, for the climb's factor f: (n log f - (f - 1) e) / spread, at most 8.
                Under 4 there is no burst and no suspicion: opinions that change while events come as usual are news
                of the model, not an attack
    agreement   n x the divergence of the mean value from what is usual for these kinds on this target, less 1 that
                chance alone may give
    newcomers   n x the divergence of the share of actors never seen before from what is usual: at most 0.9 when they
                are more than usual, and without bound taken away when they are fewer

where divergence is Kullback-Leibler's of two shares. What speaks against the burst must differ by more than 0.05, and
only what lies beyond counts: no two crowds are quite alike, and of a thousand events any difference is certain.
Suspicion is 0.5 (less weight) at 8.5 nats and 0.8 (held) at 9.5: so a rate alone is never suspicious, newcomers alone
make it weigh less, one opinion makes it be held, and a crowd of established actors is let go, unless it is far more of
one mind than it is established.
"""

from __future__ import annotations

import numpy as np
from numba import types

from rheostat.streams.compiled import compiled

_RATE_NATS_MIN, _RATE_NATS_MAX = 4.0, 8.0
_NEWCOMERS_NATS_MAX = 0.9
_HALF_NATS, _PER_NAT = 8.5, 0.3
_CHANCE_NATS = 1.0
_ONE_SIDED_NATS = 3.0
_LEAST_SHARE = 1e-3
_ALIKE = 0.05


@compiled(types.float64(types.float64, types.float64))
def divergence(share: float, usual: float) -> float:
    """Return Kullback-Leibler's divergence of a share from a usual one, nats."""
    p = min(max(share, 1e-9), 1.0 - 1e-9)
    q = min(max(usual, _LEAST_SHARE), 1.0 - _LEAST_SHARE)
    return float(p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q)))


@compiled(types.float64(types.float64, types.float64))
def difference(share: float, usual: float) -> float:
    """Return the divergence of a share from the nearest one that is alike to the usual one, nats."""
    if abs(share - usual) <= _ALIKE:
        return 0.0
    return divergence(share, usual + _ALIKE if share > usual else usual - _ALIKE)


@compiled(types.float64(types.float64, types.float64, types.float64, types.float64))
def rate_evidence(count: float, expected: float, factor: float, spread: float) -> float:
    """Return the evidence that events came at `factor` times the usual rate, nats, at most 8."""
    return float(min((count * np.log(factor) - (factor - 1.0) * expected) / spread, _RATE_NATS_MAX))


@compiled(types.float64(types.float64, types.float64, types.float64))
def agreement_evidence(count: float, value: float, usual: float) -> float:
    """Return the evidence of a mean value, given sums of values over `count` events, nats. One usual event is added."""
    mean = usual / count
    return count * difference((value + mean) / (count + 1.0), mean)


@compiled(types.float64(types.float64, types.float64, types.float64))
def newcomer_evidence(count: float, newcomers: float, usual: float) -> float:
    """Return the evidence of the number of newcomers, nats; below 0 if they are fewer than the usual share."""
    share = (newcomers + usual) / (count + 1.0)
    if share > usual:
        return float(min(count * difference(share, usual), _NEWCOMERS_NATS_MAX))
    return float(-count * divergence(share, usual))


@compiled(types.float64(*(types.float64,) * 8))
def suspicion(
    count: float,
    expected: float,
    factor: float,
    spread: float,
    value: float,
    usual: float,
    newcomers: float,
    newcomers_usual: float,
) -> float:
    """Return how suspicious a burst is, 0 to 1. `value`, `usual` and `newcomers` are sums over its `count` events."""
    rate = rate_evidence(count, expected, factor, spread)
    if rate < _RATE_NATS_MIN:
        return 0.0
    agreement = max(agreement_evidence(count, value, usual) - _CHANCE_NATS, 0.0)
    nats = rate + agreement + newcomer_evidence(count, newcomers, newcomers_usual)
    return float(min(max(0.5 + _PER_NAT * (nats - _HALF_NATS), 0.0), 1.0))


@compiled(types.float64(types.float64, types.float64, types.float64))
def suspicious_side(count: float, value: float, usual: float) -> float:
    """Return which values are suspicious: -1 those below the usual mean, 1 those above it, 0 all."""
    if agreement_evidence(count, value, usual) <= _ONE_SIDED_NATS:
        return 0.0
    return 1.0 if value > usual else -1.0
