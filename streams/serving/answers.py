"""What a version answers for rows of features: a score, and what it chose where its model chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rheostat.learners.bandits.choosing import Chooser, uniforms_of
from rheostat.learners.contract import Batch
from rheostat.streams.models.apply import ModelVersion


@dataclass(frozen=True, slots=True)
class Answer:
    """A row's score; with what was chosen and the probability it had, where the model chooses."""

    score: float
    action: str | None = None
    propensity: float | None = None


def actions_of(version: ModelVersion) -> tuple[str, ...]:
    """Return what the version can choose from; nothing where its model does not choose."""
    return version.manifest.facts.schema.actions if isinstance(version.predictor, Chooser) else ()


def answer(
    version: ModelVersion, batch: Batch, prediction_ids: Sequence[str], eligible: Sequence[Sequence[bool]]
) -> list[Answer]:
    """Return one answer a row. Chance comes from the prediction id alone: asked again, the answer is the same.

    eligible: for each row which of `actions_of` may be chosen, at least one where there are any.
    """
    if not isinstance(version.predictor, Chooser):
        return list(map(Answer, version.predictor.predict(batch).tolist()))
    uniforms = uniforms_of(version.model, prediction_ids)
    choice = version.predictor.choose(batch, uniforms, np.array(eligible, np.bool_))
    names = [version.manifest.facts.schema.actions[place] for place in choice.action.tolist()]
    return list(map(Answer, choice.score.tolist(), names, choice.propensity.tolist()))
