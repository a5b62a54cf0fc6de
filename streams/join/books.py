"""The books of the join: what became of every prediction and every ledger entry of a partition, cumulative.

    predictions_in = waiting_predictions + answered + default_emitted + unanswered
                     + late_predictions + duplicate_predictions + evicted_predictions + invalid_predictions
                     + shadow_predictions
    feedback_in    = waiting + joined + dangling + late + evicted + retracting + unsupported
    changes_in     = revising + remembered + after_window

answered: left the window with at least one signal. unanswered: left it with none, and there is no default label.
shadow: was never shown, so nothing can follow from it.
dangling: no prediction came within the window, or it had expired, or this event had taught it already. late: came when
its window had passed. evicted: given up for want of room. retracting: takes an event back. unsupported: feedback on no
prediction. Changes are corrections and retractions (`changes`): those that changed what an example counts, those only
remembered, as their event is still to come or nothing follows from them, and those whose prediction is no longer kept.
"""

from __future__ import annotations

from collections.abc import Mapping

PREDICTION_FATES = (
    "answered",
    "default_emitted",
    "unanswered",
    "late_predictions",
    "duplicate_predictions",
    "evicted_predictions",
    "invalid_predictions",
    "shadow_predictions",
)
FEEDBACK_FATES = ("joined", "dangling", "late", "evicted", "retracting", "unsupported")
CHANGE_FATES = ("revising", "remembered", "after_window")
WAITING_PREDICTIONS = "waiting_predictions"
WAITING_FEEDBACK = "waiting"
PREDICTIONS_IN = "predictions_in"
FEEDBACK_IN = "feedback_in"
CHANGES_IN = "changes_in"
NAMES = (
    PREDICTIONS_IN,
    WAITING_PREDICTIONS,
    *PREDICTION_FATES,
    FEEDBACK_IN,
    WAITING_FEEDBACK,
    *FEEDBACK_FATES,
    CHANGES_IN,
    *CHANGE_FATES,
)


class Books:
    """Counts by name; starts from those of the last commit."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = dict.fromkeys(NAMES, 0) | dict(counts or {})

    @property
    def counts(self) -> dict[str, int]:
        """All counts (a copy)."""
        return dict(self._counts)

    def add(self, name: str, count: int) -> None:
        """Count events of one fate, or of one source."""
        self._counts[name] += count

    def settle(self, waiting_predictions: int, waiting_feedback: int) -> None:
        """Take the present numbers of waiting records and check the law. Raises AssertionError when it is broken."""
        self._counts[WAITING_PREDICTIONS] = waiting_predictions
        self._counts[WAITING_FEEDBACK] = waiting_feedback
        if imbalance(self._counts):
            raise AssertionError(f"the books of the join do not balance: {self._counts}")


def imbalance(counts: Mapping[str, int]) -> int:
    """Return how many records the books cannot account for; 0 when they balance."""
    predictions = counts[PREDICTIONS_IN] - counts[WAITING_PREDICTIONS] - sum(counts[name] for name in PREDICTION_FATES)
    feedback = counts[FEEDBACK_IN] - counts[WAITING_FEEDBACK] - sum(counts[name] for name in FEEDBACK_FATES)
    changes = counts[CHANGES_IN] - sum(counts[name] for name in CHANGE_FATES)
    return abs(predictions) + abs(feedback) + abs(changes)
