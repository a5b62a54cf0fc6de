"""From what a version answers to predictions, and from those to the JSON that is answered."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from rheostat.streams.serving.answers import Answer, Scorer
from rheostat.streams.serving.arms import FALLEN_BACK, NOT_STICKY
from rheostat.streams.serving.fallback import FALLBACK
from rheostat.streams.serving.predictions import Prediction
from rheostat.streams.serving.requests import Instance, Row


class NoNumber(Exception):
    """A version gives no number for these features."""


class Asked(NamedTuple):
    """Checked instances, at least one, each with its features, the actions that may be chosen, and its answer's id.

    Feedback on the answers counts for `ttl_ms`.
    """

    instances: Sequence[Instance]
    rows: Sequence[Row]
    eligible: Sequence[Sequence[bool]]
    ids: Sequence[str]
    now_ms: int
    ttl_ms: int

    def at(self, places: Sequence[int]) -> Asked:
        """Return some of them."""
        return self._replace(
            instances=[self.instances[place] for place in places],
            rows=[self.rows[place] for place in places],
            eligible=[self.eligible[place] for place in places],
            ids=[self.ids[place] for place in places],
        )


def predictions_of(scorer: Scorer, asked: Asked) -> list[Prediction]:
    """Return what a version answers, one prediction an instance. Raises NoNumber."""
    facts, now_ms = scorer.version.manifest.facts, asked.now_ms
    answered = scorer.answer(asked.rows, asked.ids, asked.eligible)
    if not all(math.isfinite(each.score) for each in answered):
        raise NoNumber(f"model {facts.model!r} {facts.version} gives no number for these features")

    def prediction(prediction_id: str, instance: Instance, row: Row, given: Answer) -> Prediction:
        return Prediction(
            prediction_id=prediction_id,
            model=facts.model,
            version=facts.version,
            feature_set=facts.schema.id,
            numeric=row.numeric,
            categorical=row.categorical,
            score=given.score,
            occurred_at_ms=now_ms,
            expires_at_ms=now_ms + asked.ttl_ms,
            target_id=instance.target_id,
            subject_id=instance.subject,
            segment=instance.segment,
            arm=instance.arm,
            action=given.action,
            propensity=given.propensity,
            flags=scorer.flags,
        )

    return list(map(prediction, asked.ids, asked.instances, asked.rows, answered))


def answer_json(prediction: Prediction, more: str = "") -> str:
    """Return what is answered, in JSON. Written by hand, as all of it but an action is known to need no escapes.

    more: members of the object, each with a comma behind it.
    """
    chosen = more
    if prediction.action is not None:
        chosen += f'"action":{json.dumps(prediction.action)},"propensity":{prediction.propensity!r},'
    if FALLBACK in prediction.flags:
        chosen += '"fallback":true,'
    return (
        f'{{"prediction_id":"{prediction.prediction_id}","model":"{prediction.model}","version":"{prediction.version}",'
        f'"score":{prediction.score!r},{chosen}"expires_at":{prediction.expires_at_ms}}}'
    )


def answer_json_with_arm(prediction: Prediction) -> str:
    """Return what is answered where the model has arms."""
    more = f'"arm":{json.dumps(prediction.arm)},'
    if prediction.arm_propensity is not None:
        more += f'"arm_propensity":{prediction.arm_propensity!r},'
    if NOT_STICKY in prediction.flags:
        more += '"sticky":false,'
    if FALLEN_BACK in prediction.flags:
        more += '"arm_fallback":true,'
    return answer_json(prediction, more)
