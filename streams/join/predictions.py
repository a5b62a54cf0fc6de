"""Predictions that wait for feedback, and the feedback each has had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.join.answers import Answers, Floats, Nodes, Said
from rheostat.streams.join.rewards import Merged, merged
from rheostat.streams.join.rows import Mask, Rows, Slots, Times
from rheostat.streams.join.settings import Reward, Spill


class Predictions:
    """One row for each prediction_id: of several copies the one with the newest event time stays, as yet unanswered.

    That rule, unlike "the first one", gives the same rows when they are folded again from the middle of the log.
    The caller bounds how many there are.
    """

    def __init__(self, window_ms: int, spill: Spill | None = None) -> None:
        self.rows = Rows(window_ms, spill)
        self._answers = Answers()
        self._positive = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self.rows)

    def add(
        self, ids: Fingerprints, times: Times, values: Sequence[bytes | None], untils: Times, positive: Mask
    ) -> Slots:
        """Add predictions: encoded, with the last moment at which feedback on them counts, and what they said.

        Returns the slots of those that stay, in their order; the others were copies.
        """
        added = self.rows.add(ids, times, values, untils)
        if len(self._positive) < len(self.rows.table):
            self._positive = np.concatenate(
                [self._positive, np.zeros(len(self.rows.table) - len(self._positive), np.bool_)]
            )
        self._positive[added] = positive
        copies = self.rows.copies(added)
        if not len(copies):
            return added
        self.drop(copies)
        return added[~np.isin(added, copies)]

    def positive(self, slots: Slots) -> Mask:
        """Return which predictions said yes, that is a score of a half or more; anything for NONE."""
        positive: Mask = self._positive[slots] if len(self._positive) else np.zeros(len(slots), np.bool_)
        return positive

    def answer(self, slots: Slots, said: Said, window_ms: int) -> Mask:
        """Note which events answer which predictions; see `Answers.add`."""
        return self._answers.add(self.rows.table, slots, said, window_ms)

    def answer_ourselves(self, slots: Slots, labels: Floats, weights: Floats) -> None:
        """Note what we made of predictions ourselves; see `Answers.add_own`."""
        self._answers.add_own(self.rows.table, slots, labels, weights)

    def answers_of(self, slots: Slots, events: Fingerprints) -> Nodes:
        """Return the answers of events, by which `labels_of` and `weights_of` find them; see `Answers.find`."""
        return self._answers.find(self.rows.table, slots, events)

    def merged(self, slots: Slots, reward: Reward) -> Merged:
        """Merge the signals on predictions; see `rewards.merged`."""
        return merged(self.rows.table, self._answers.table, slots, reward)

    def labels_of(self, answers: Nodes) -> Floats:
        """Return the labels of answers."""
        labels: Floats = self._answers.table["label"][answers]
        return labels

    def weights_of(self, answers: Nodes) -> Floats:
        """Return how much answers count now."""
        weights: Floats = self._answers.table["weight"][answers]
        return weights

    def revise(self, answers: Nodes, labels: Floats, weights: Floats) -> Nodes:
        """Let answers count as given from now on; return how often each was revised by now."""
        revisions = np.minimum(self._answers.table["revision"][answers].astype(np.int64) + 1, REVISIONS_MAX)
        self._answers.revise(answers, labels, weights, revisions.astype(np.int16))
        return revisions

    def drop(self, slots: Slots) -> None:
        """Forget predictions."""
        if len(slots):
            self._answers.forget(self.rows.table, slots)
            self.rows.drop(slots)


REVISIONS_MAX = 32_767
"""Counted no further: the number tells people how often, nothing is decided by it."""
