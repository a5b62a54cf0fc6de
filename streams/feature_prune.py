"""Which features a model could do without: proposals with the evidence for each. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rheostat.learners.ablation import Progress, Value, ablate, value_of
from rheostat.learners.contract import Learner
from rheostat.learners.copies import CONSTANT
from rheostat.streams.feature_value import CONFIDENCE, Valued, value_json, warm_up


@dataclass(frozen=True, slots=True)
class Proposal:
    """A feature that could go, and why."""

    value: Value
    reasons: tuple[str, ...]

    @property
    def feature(self) -> str:
        """Its name."""
        return self.value.features[0]


def propose(valued: Valued, worth_min: float) -> list[Proposal]:
    """Return the features that could go, the least valuable first.

    Those are surely worth less than `worth_min` nats an example, or nearly constant and not surely worth anything. What
    each adds is measured with all others there. So of copies that together are worth more, one is kept: the one that
    adds most.
    """
    kept = _kept_copies(valued, worth_min)
    found = []
    for value in sorted(valued.features, key=lambda each: each.nats.mean):
        (name,) = value.features
        constant = valued.shares[name] >= CONSTANT and value.nats.lower <= 0.0
        if (value.nats.upper < worth_min or constant) and name not in kept:
            adds = f"adds {_nats(value.nats.mean)}, at most {_nats(value.nats.upper)}"
            found.append(Proposal(value, (adds, *_also(valued, name, kept))))
    return found


def without_all(
    new_learner: Callable[[], Learner],
    valued: Valued,
    proposals: list[Proposal],
    block_rows: int,
    progress: Progress = lambda done: None,
) -> Value | None:
    """Measure what all proposed features are worth together; None where there are less than two."""
    names = tuple(each.feature for each in proposals)
    if len(names) < 2:
        return None
    (score,) = ablate(new_learner, valued.examples, [names], block_rows, progress)
    return value_of(names, valued.examples, valued.full, score, CONFIDENCE, warm_up(valued.examples))


def proposals_json(proposals: list[Proposal], together: Value | None, worth_min: float) -> dict[str, Any]:
    """Return proposals as JSON. `all_at_once`: whether all may go together, None where that was no question."""
    return {
        "worth_min": worth_min,
        "proposals": [
            {"feature": each.feature, "reasons": list(each.reasons), **value_json(each.value)} for each in proposals
        ],
        "together": None if together is None else {"features": list(together.features), **value_json(together)},
        "all_at_once": None if together is None else together.nats.upper < worth_min,
    }


def _kept_copies(valued: Valued, worth_min: float) -> set[str]:
    """Return of each group of copies that is worth something the feature to keep."""
    nats = {each.features[0]: each.nats.mean for each in valued.features}
    groups = [group.features for group, value in valued.copies if value.nats.upper >= worth_min]
    # A copy that was not asked for stays anyway.
    return {max(names, key=lambda name: nats[name]) for names in groups if all(name in nats for name in names)}


def _also(valued: Valued, name: str, kept: set[str]) -> list[str]:
    reasons = []
    if (share := valued.shares[name]) >= CONSTANT:
        reasons.append(f"{share:.2%} of its values are the same")
    for group, value in valued.copies:
        if name in group.features:
            others = [each for each in group.features if each != name]
            stays = [each for each in others if each in kept or each not in valued.shares]
            reasons.append(
                f"a copy of {', '.join(others)} (likeness {group.least:.3f}), together worth {_nats(value.nats.mean)}"
                + (f"; {stays[0]} would stay" if stays else "")
            )
    return reasons


def _nats(value: float) -> str:
    return f"{value:.5f} nats"
