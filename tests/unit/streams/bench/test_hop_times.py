"""Times of hops out of a server's histograms: exact means, percentiles within a bucket, only what came in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from rheostat.schemas.hops import Trail
from rheostat.streams.bench.hop_times import WHOLE, Found, parsed, summary
from rheostat.streams.metrics import METRICS, Metrics

(BOUNDS_MS,) = {
    tuple(bound * 1000 for bound in (0.0, *each.buckets)) for each in METRICS if each.name == "follower_hop_seconds"
}


class Server:
    """A server that shows trails of the model `toy`: produced at 0, learned in between."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry)

    def serve(self, produce_ms: int, learn_ms: int, follow_ms: int, count: int = 1, model: str = "toy") -> None:
        learned_ms = produce_ms + learn_ms
        trail = Trail(0, count).then("learn", produce_ms, learned_ms)
        self._metrics.followed(model, [trail], learned_ms, learned_ms + follow_ms)

    def look(self) -> Found:
        return parsed(generate_latest(self._registry).decode())


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=30))
def test_a_percentile_lies_in_the_bucket_of_the_true_one_and_means_are_exact(waits_ms: list[int]) -> None:
    server = Server()
    for each in waits_ms:
        server.serve(each, 0, 0)
    times = server.look()["toy", "produce"]
    assert times.count == len(waits_ms)
    assert times.sum_ms == pytest.approx(sum(waits_ms))
    for share in (0.5, 0.99):
        true = sorted(waits_ms)[max(0, -int(-share * len(waits_ms) // 1) - 1)]
        low = max(bound for bound in BOUNDS_MS if bound < true or bound == 0.0)
        high = min(bound for bound in BOUNDS_MS if bound >= true and bound > 0.0)
        assert low <= times.quantile_ms(share) <= high + 1e-9


def test_what_is_longer_than_any_bound_counts_as_the_last() -> None:
    server = Server()
    server.serve(10_000_000, 0, 0)
    assert server.look()["toy", "produce"].quantile_ms(0.5) == BOUNDS_MS[-1]


def test_only_what_came_in_between_counts_and_hops_add_up() -> None:
    server = Server()
    server.serve(9_000, 9_000, 9_000)
    server.serve(1, 1, 1, model="other")
    before = server.look()
    server.serve(10, 40, 4, count=3)
    server.serve(20, 80, 4)
    server.serve(50_000, 1, 1, model="other")
    found = summary(before, server.look(), "toy")
    assert found["stamped"] == 4
    means = {hop: times["ms_mean"] for hop, times in found["hops"].items()}
    assert means == {"produce": 12.5, "learn": 50.0, "publish": 0.0, "follow": 4.0}
    assert found["in_use_ms_mean"] == sum(means.values())
    assert found["longest_hop"] == "learn"


def test_without_any_stamp_there_is_nothing_to_tell() -> None:
    found = summary({}, Server().look(), "toy")
    assert (found["stamped"], found["hops"], found["longest_hop"]) == (0, {}, None)


def test_the_whole_is_kept_apart_from_its_hops() -> None:
    server = Server()
    server.serve(1, 2, 3)
    assert set(server.look()) == {("toy", hop) for hop in (WHOLE, "produce", "learn", "publish", "follow")}
