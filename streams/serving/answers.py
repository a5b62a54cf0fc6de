"""What a version answers for rows of features: a score, and what it chose where its model chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rheostat.learners.bandits.choosing import Choice, Chooser, uniforms_of
from rheostat.learners.contract import Batch, Floats, PredictsOne
from rheostat.learners.features import SECOND, batch_from_columns, hash_value
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.serving.fallback import FALLBACK
from rheostat.streams.serving.requests import Row, batch_of, read_row

_ONE_FEATURES_MAX = 64
"""With more features than these, a batch of one row is faster than one feature after the other."""


class Answer(NamedTuple):
    """A row's score; with what was chosen and the probability it had, where the model chooses."""

    score: float
    action: str | None = None
    propensity: float | None = None


class Scorer:
    """A version ready to answer: what depends on the version alone is looked up once. May be used by any thread.

    `actions`: what the version can choose from; nothing where its model does not choose. `flags`: of all predictions.
    """

    flags: tuple[str, ...] = ()

    def __init__(self, version: ModelVersion) -> None:
        schema, predictor = version.manifest.facts.schema, version.predictor
        self.version = version
        self.schema = schema
        self._chooser = predictor if isinstance(predictor, Chooser) else None
        self.actions = schema.actions if self._chooser is not None else ()
        few = len(schema.numeric) <= _ONE_FEATURES_MAX and not schema.training_only
        self._one = predictor.predict_one if few and isinstance(predictor, PredictsOne) else None
        self._hashed = tuple(name.removesuffix(SECOND) for name in schema.categorical)

    def score(self, features: Mapping[str, float | str | None]) -> float:
        """Return the score of one instance by the names of its features: numbers, and text or None.

        Raises BadRequest naming the feature that is missing, unknown or of the wrong kind.
        """
        return self._score(read_row(self.schema, features))

    def scores(self, numeric: ArrayLike, categorical: Sequence[Sequence[str | None]] = ()) -> Floats:
        """Return scores (rows,) for many instances, given in columns as `batch_from_columns` takes them."""
        return self._predict(batch_from_columns(self.schema, numeric, categorical))

    def answer(
        self, rows: Sequence[Row], prediction_ids: Sequence[str], eligible: Sequence[Sequence[bool]]
    ) -> list[Answer]:
        """Return one answer a row. Chance comes from the prediction id alone: asked again, the answer is the same.

        eligible: for each row which of `actions` may be chosen, at least one where there are any.
        """
        if self._chooser is None:
            if len(rows) == 1:
                return [Answer(self._score(rows[0]))]
            return list(map(Answer, self._predict(batch_of(self.schema, rows)).tolist()))
        uniforms = uniforms_of(self.version.model, prediction_ids)
        choice = self._choose(self._chooser, rows, uniforms, np.array(eligible, np.bool_))
        names = [self.actions[place] for place in choice.action.tolist()]
        return list(map(Answer, choice.score.tolist(), names, choice.propensity.tolist()))

    def _choose(self, chooser: Chooser, rows: Sequence[Row], uniforms: Floats, eligible: NDArray[np.bool_]) -> Choice:
        return chooser.choose(batch_of(self.schema, rows), uniforms, eligible)

    def _score(self, row: Row) -> float:
        if self._one is None:
            return float(self._predict(batch_of(self.schema, (row,)))[0])
        return self._one(row.numeric, list(map(hash_value, self._hashed, row.categorical)))

    def _predict(self, batch: Batch) -> Floats:
        return self.version.predictor.predict(batch)


class DefaultScorer(Scorer):
    """Answers for a model that is not online: where it would choose, always the first action that is eligible."""

    def answer(
        self, rows: Sequence[Row], prediction_ids: Sequence[str], eligible: Sequence[Sequence[bool]]
    ) -> list[Answer]:
        """Return one answer a row, as `Scorer.answer` does."""
        return super().answer(rows, prediction_ids, [_first(each) for each in eligible])


class FallbackScorer(Scorer):
    """Answers in the place of a version that is too old: the same requests, a score for all."""

    flags = (FALLBACK,)

    def __init__(self, version: ModelVersion, score: float) -> None:
        super().__init__(version)
        self._one = None
        self._constant = score

    def _predict(self, batch: Batch) -> Floats:
        return np.full(len(batch), self._constant)

    def _choose(self, chooser: Chooser, rows: Sequence[Row], uniforms: Floats, eligible: NDArray[np.bool_]) -> Choice:
        counts = eligible.sum(axis=1)
        # The n-th of those that are eligible: the first place with n + 1 of them up to it.
        wanted = np.minimum((uniforms * counts).astype(np.int64), counts - 1) + 1
        action = (eligible.cumsum(axis=1) == wanted[:, None]).argmax(axis=1)
        return Choice(action, 1.0 / counts, np.full(len(rows), self._constant))


def _first(eligible: Sequence[bool]) -> list[bool]:
    first = next((place for place, each in enumerate(eligible) if each), None)
    return [place == first for place in range(len(eligible))]
