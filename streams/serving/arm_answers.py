"""Who answers where a model has arms, and what answers in the place of an arm that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rheostat.schemas.arms import arm_text, variants_in
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.version import Version
from rheostat.streams.serving.answered import Asked, predictions_of
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.arms import DEFAULT, FALLEN_BACK, NAMED, NOT_STICKY, Arm, ArmPlan, Skip
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.predictions import Prediction
from rheostat.streams.serving.requests import BadRequest, Instance

_PROPENSITY_MIN = 2.0**-53
"""What rounding may leave of the default's share where the others have nearly all."""


class Assigned(NamedTuple):
    """Which arm is to answer an instance; `drawn`: by its unit's place, else as the request said."""

    arm: str
    drawn: bool
    flags: tuple[str, ...]


class ArmedModel:
    """A model with arms: the versions behind them, and who meets which. May be used by any thread."""

    def __init__(self, plan: ArmPlan, follower: ModelFollower, metrics: Metrics) -> None:
        self.plan = plan
        self._follower = follower
        self._metrics = metrics
        self._pinned: dict[Version, Scorer] = {}
        names = (DEFAULT, *plan.answering, *plan.shadows)
        for name in names:
            metrics.declare_arm(plan.model, name)
        # Looking a series up takes longer than counting in it.
        self._answered = {name: metrics.arm_predictions_total.labels(plan.model, name) for name in names}

    def scorer(self, name: str, default: Scorer) -> Scorer | Skip:
        """Return what answers for an arm, or why nothing can in the place of the default."""
        arm = self.plan.answering.get(name) or self.plan.shadows[name]
        found = self._version(arm)
        if not isinstance(found, Scorer):
            return found
        # Features were read, and actions ruled out, as the default has them.
        same = found.schema == default.schema and found.actions == default.actions
        return found if same else "features"

    def answer(self, default: Scorer, asked: Asked) -> list[Prediction]:
        """Return the predictions of the arms that instances meet, in order.

        Raises BadRequest for an arm that a request names and there is not, and NoNumber if the default gives none.
        """
        scorers = {name: self.scorer(name, default) for name in self.plan.answering}
        assigned = list(map(self._assign, asked.instances, units(asked)))
        fields = [arm_field(self.plan.model, DEFAULT, each) for each in asked.instances]
        found: dict[int, Prediction] = {}
        for name in {each.arm for each in assigned}:
            places = [at for at, each in enumerate(assigned) if each.arm == name]
            answered, arm, propensity = self._answer_of(
                name, default, scorers, asked if len(places) == len(assigned) else asked.at(places)
            )
            for at, prediction in zip(places, answered, strict=True):
                meant, instance = assigned[at], asked.instances[at]
                found[at] = prediction._replace(
                    arm=fields[at] if arm == DEFAULT else arm_field(self.plan.model, arm, instance),
                    arm_propensity=propensity if meant.drawn else None,
                    flags=(*prediction.flags, *meant.flags, *(() if arm == name else (FALLEN_BACK,))),
                )
        return [found[at] for at in range(len(assigned))]

    def would_answer(self, default: Scorer, instance: Instance) -> Scorer:
        """Return the version that answers an instance: the default, too, where there is no unit or its arm cannot.

        Raises BadRequest for an arm that the request names and there is not.
        """
        assigned = self._assign(instance, instance.unit or instance.subject or "")
        scorer = (
            default if assigned.arm == DEFAULT or NOT_STICKY in assigned.flags else self.scorer(assigned.arm, default)
        )
        return scorer if isinstance(scorer, Scorer) else default

    def skipped(self, name: str, why: Skip, count: int) -> None:
        """Count predictions that an arm should have given and did not."""
        self._metrics.arm_skipped_predictions_total.labels(self.plan.model, name, why).inc(count)

    def answered(self, name: str, count: int) -> None:
        """Count predictions that an arm gave."""
        self._answered[name].inc(count)

    def _answer_of(
        self, name: str, default: Scorer, scorers: Mapping[str, Scorer | Skip], asked: Asked
    ) -> tuple[list[Prediction], str, float]:
        """Return answers, the arm that gave them, and the probability that it had of giving them."""
        usable = sum(self.plan.answering[each].width for each, scorer in scorers.items() if isinstance(scorer, Scorer))
        of_default = max(1.0 - usable, _PROPENSITY_MIN)
        scorer = default if name == DEFAULT else scorers[name]
        if isinstance(scorer, Scorer) and name != DEFAULT:
            # Whatever a version on trial does, the one that has proved itself answers.
            try:
                answered = predictions_of(scorer, asked)
            except Exception:
                self.skipped(name, "failed", len(asked.ids))
                of_default += self.plan.answering[name].width
            else:
                self.answered(name, len(answered))
                return answered, name, self.plan.answering[name].width
        elif not isinstance(scorer, Scorer):
            self.skipped(name, scorer, len(asked.ids))
        answered = predictions_of(default, asked)
        self.answered(DEFAULT, len(answered))
        return answered, DEFAULT, min(of_default, 1.0)

    def _assign(self, instance: Instance, unit: str) -> Assigned:
        named = None if instance.arm is None else variants_in(instance.arm).get(self.plan.model)
        if named is None:
            sticky = instance.unit is not None or instance.subject is not None
            name = self.plan.arm_of(unit)
            return Assigned(name, drawn=True, flags=() if sticky else (NOT_STICKY,))
        if named in self.plan.shadows:
            raise BadRequest(f"{instance.path}arm", f"{self.plan.model}:{named} is a shadow, which answers nobody")
        if named != DEFAULT and named not in self.plan.answering:
            known = ", ".join((DEFAULT, *self.plan.answering))
            raise BadRequest(f"{instance.path}arm", f"model {self.plan.model!r} has no such arm; known: {known}")
        return Assigned(named, drawn=False, flags=(NAMED,))

    def _version(self, arm: Arm) -> Scorer | Skip:
        if arm.model is not None:
            if self._follower.too_old(arm.model):
                return "too-old"
            return self._follower.scorer(arm.model) or "no-version"
        wanted, lineage = Version.parse(arm.version or ""), self._follower.lineage(self.plan.model)
        version = None if lineage is None else lineage.kept.pinned.get(wanted)
        if version is None:
            return "no-version"
        scorer = self._pinned.get(wanted)
        if scorer is None or scorer.version is not version:
            scorer = self._pinned[wanted] = Scorer(version)
        return scorer


def units(asked: Asked) -> list[str]:
    """Return what the arm of each instance sticks to; without anything that is chance, once for the whole request."""
    return [each.unit or each.subject or asked.ids[0] for each in asked.instances]


def arm_field(model: str, arm: str, instance: Instance) -> str:
    """Return the field `arm` of a prediction: the model is the experiment; others of the request stay beside it."""
    if instance.arm is None:
        return f"{model}:{arm}"
    try:
        return arm_text({**variants_in(instance.arm), model: arm}) or ""
    except ValueError as error:
        raise BadRequest(f"{instance.path}arm", str(error)) from error
