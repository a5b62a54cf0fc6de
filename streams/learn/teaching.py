"""How examples are taught: each once, with what it counts by the newest revision known.

A version is made of the examples of some runs. Those revised within the same runs are learned as they were revised, so
a learner that learns a stretch of the log again, without what it must not contain, needs nothing but the log. Where the
example was learned by an earlier version, a learner that can takes it back exactly and learns it as it is now. Any
other learns a new label as one more example; a smaller weight it cannot learn, and owes until it learns that stretch
again. A revision without features counts when the stretch is learned again; what is owed does not tell of it, as nobody
can say whether its example was ever learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Floats, Learner, Unlearns
from rheostat.learners.features import select
from rheostat.learners.rows import joined
from rheostat.streams.learn.examples import Examples, Revision

Mask = NDArray[np.bool_]


class Taught(NamedTuple):
    """What became of examples: how many were learned as new, revised exactly, and the weight that is owed."""

    new: int = 0
    revised: int = 0
    owed_weight: float = 0.0


class _Counts(NamedTuple):
    """What each row counts, and what it had counted for a version before."""

    label: Floats
    weight: Floats
    was_label: Floats
    was_weight: Floats
    new: Mask


def teach(learner: Learner, parts: Sequence[Examples]) -> Taught:
    """Let a learner learn the examples of one version, in order; the same parts always teach the same."""
    if not any(part.revisions.ids for part in parts):
        for part in parts:
            learner.learn(part.batch)
        return Taught(new=sum(map(len, parts)))
    newest = {each.id: each for part in parts for each in part.revisions.each()}
    told: set[str] = set()
    counted = [_counts(part, newest, told) for part in parts]
    batch = reduce(joined, [part.batch for part in parts])
    return _teach(learner, batch, _Counts(*(np.concatenate(each) for each in zip(*counted, strict=True))))


def _teach(learner: Learner, batch: Batch, counts: _Counts) -> Taught:
    """Learn rows; what those of an earlier version had counted is taken back first, where it can be."""
    relabelled = ~counts.new & (counts.label != counts.was_label)
    earlier = relabelled | (~counts.new & (counts.weight != counts.was_weight))
    if isinstance(learner, Unlearns):
        was = replace(batch, label=counts.was_label, weight=counts.was_weight)
        learner.unlearn(select(was, earlier & (counts.was_weight > 0.0)))
        taken, owed = counts.new | earlier, np.zeros(1)
    else:
        taken = counts.new | relabelled
        owed = np.where(relabelled, counts.was_weight, np.abs(counts.weight - counts.was_weight) * earlier)
    learner.learn(replace(batch, label=counts.label, weight=np.where(taken, counts.weight, 0.0)))
    new = int(np.count_nonzero(counts.new))
    return Taught(new, int(np.count_nonzero(taken)) - new, float(owed.sum()))


def _counts(part: Examples, newest: Mapping[str, Revision], told: set[str]) -> _Counts:
    """Return what the rows count: of an example with its revisions only the first row, as the last one says.

    `told` has the ids that came in parts before.
    """
    names = ("label", "weight", "was_label", "was_weight", "revision")
    label, weight, was_label, was_weight, revision = (np.array(part.records.column(each), np.float64) for each in names)
    new = revision == 0.0
    for row, (each, offset) in enumerate(zip(part.records.column("example_id").to_pylist(), part.offsets, strict=True)):
        if each in told:
            label[row], weight[row], new[row] = was_label[row], was_weight[row], False
        elif (revised := newest.get(each)) is not None:
            told.add(each)
            # What was revised before it was given has taken that into account.
            if revised.offset >= offset:
                label[row] = label[row] if np.isnan(revised.label) else revised.label
                weight[row] = revised.weight
    return _Counts(label, weight, was_label, was_weight, new)
