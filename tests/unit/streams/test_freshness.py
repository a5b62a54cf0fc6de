"""Freshness counts an event from its sending to the first served prediction by a version that learned it."""

from __future__ import annotations

from rheostat.streams.freshness import FreshnessTracker
from rheostat.streams.models.version import Version


def a_tracker() -> FreshnessTracker:
    tracker = FreshnessTracker()
    tracker.event_sent("a", 10.0)
    tracker.event_joined("a", 0, 5)
    tracker.version_published(Version(0, 1), [(0, 0, 5)])
    tracker.version_published(Version(0, 2), [(0, 5, 8)])
    return tracker


def test_the_version_that_learned_the_event_counts_not_an_earlier_one() -> None:
    tracker = a_tracker()
    tracker.prediction_served(Version(0, 1), 10.1)
    assert len(tracker.latencies_ms()) == 0
    tracker.prediction_served(Version(0, 2), 10.3)
    assert [round(each) for each in tracker.latencies_ms()] == [300]


def test_a_later_version_of_the_epoch_has_learned_it_too() -> None:
    tracker = a_tracker()
    tracker.prediction_served(Version(0, 7), 10.2)
    tracker.prediction_served(Version(0, 2), 10.9)
    assert [round(each) for each in tracker.latencies_ms()] == [200]


def test_another_epoch_has_not() -> None:
    tracker = a_tracker()
    tracker.prediction_served(Version(1, 0), 10.2)
    assert len(tracker.latencies_ms()) == 0


def test_an_event_that_no_version_learned_is_left_out() -> None:
    tracker = a_tracker()
    tracker.event_sent("skipped", 10.0)
    tracker.event_joined("skipped", 0, 8)
    tracker.prediction_served(Version(0, 2), 10.3)
    assert len(tracker.latencies_ms()) == 1
