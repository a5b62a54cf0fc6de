"""What apprentices would have answered: shadows that nobody has to configure, one for each model in this mode."""

from __future__ import annotations

from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.arm_answers import ArmedModel
from rheostat.streams.serving.arms import Arm, ArmPlan, Skip
from rheostat.streams.serving.follower import ModelFollower

APPRENTICE = "apprentice"
"""The arm of what a model in this mode has learned; its predictions are logged as those of shadows are."""


class _Apprentice(ArmedModel):
    """The newest version of a model as a shadow of the one that answers."""

    def _version(self, arm: Arm) -> Scorer | Skip:
        return self._follower.apprentice(self.plan.model) or "no-version"


class Apprentices:
    """Those of all models. May be used by any thread."""

    def __init__(self, follower: ModelFollower, metrics: Metrics) -> None:
        self._follower = follower
        self._metrics = metrics
        self._known: dict[str, _Apprentice] = {}

    def of(self, model: str) -> ArmedModel | None:
        """Return what shadows a model now; None unless it is an apprentice."""
        if self._follower.apprentice(model) is None:
            return None
        found = self._known.get(model)
        if found is None:
            plan = ArmPlan(model, "", {}, {APPRENTICE: Arm(model=model, shadow=True)})
            found = self._known[model] = _Apprentice(plan, self._follower, self._metrics)
        return found
