"""What a server's histograms say of each hop between two looks at its /metrics: means, percentiles, the longest hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from rheostat.streams.metrics import HOPS, PREFIX

WHOLE = "whole"
_FRESHNESS, _HOP = f"{PREFIX}follower_freshness_seconds", f"{PREFIX}follower_hop_seconds"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Times:
    """One histogram: `upto` has for each upper bound in ms, the last infinite, how many were no longer than that."""

    upto: Sequence[tuple[float, float]] = ()
    sum_ms: float = 0.0

    @property
    def count(self) -> float:
        """How many there are."""
        return self.upto[-1][1] if self.upto else 0.0

    def since(self, before: Times) -> Times:
        """Return what was added since."""
        then = dict(before.upto)
        return Times([(bound, count - then.get(bound, 0.0)) for bound, count in self.upto], self.sum_ms - before.sum_ms)

    def quantile_ms(self, share: float) -> float:
        """Return a quantile as Prometheus does: as if evenly spread within each bucket, at most the last bound."""
        rank = share * self.count
        for (low, fewer), (high, count) in pairwise([(0.0, 0.0), *self.upto]):
            if count >= rank and count > fewer:
                return low if high == float("inf") else low + (high - low) * (rank - fewer) / (count - fewer)
        return 0.0


Found = Mapping[tuple[str, str], Times]
"""Histograms by model, and hop or `WHOLE`."""


def look(url: str) -> Found:
    """Return what a server shows now."""
    with urlopen(f"{url}/metrics", timeout=_TIMEOUT_S) as answer:
        return parsed(answer.read().decode())


def parsed(text: str) -> Found:
    """Return the histograms of freshness and hops in Prometheus' text format."""
    upto: dict[tuple[str, str], list[tuple[float, float]]] = {}
    sums_ms: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        if family.name not in (_FRESHNESS, _HOP):
            continue
        for sample in family.samples:
            at = sample.labels["model"], sample.labels.get("hop", WHOLE)
            if sample.name.endswith("_bucket"):
                upto.setdefault(at, []).append((float(sample.labels["le"]) * 1000, sample.value))
            elif sample.name.endswith("_sum"):
                sums_ms[at] = sample.value * 1000
    return {at: Times(each, sums_ms[at]) for at, each in upto.items()}


def summary(before: Found, after: Found, model: str) -> dict[str, Any]:
    """Return what came in between, of one model: its hops in order with their times in ms, and which took longest.

    Means add up to the whole; percentiles are as exact as the buckets are narrow.
    """
    added = {
        hop: times.since(before.get((name, hop), Times())) for (name, hop), times in after.items() if name == model
    }
    hops = {hop: _row(added[hop]) for hop in HOPS if hop in added and added[hop].count}
    whole = added.get(WHOLE, Times())
    return {
        "stamped": int(whole.count),
        **{f"in_use_{name}": each for name, each in _row(whole).items()},
        "hops": hops,
        "longest_hop": max(hops, key=lambda hop: hops[hop]["ms_mean"], default=None),
    }


def _row(times: Times) -> dict[str, float]:
    return {
        "ms_mean": round(times.sum_ms / max(1.0, times.count), 1),
        "ms_p50": round(times.quantile_ms(0.5), 1),
        "ms_p99": round(times.quantile_ms(0.99), 1),
    }
