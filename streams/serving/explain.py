"""Why a score: what each feature contributed, which version answered, and what that had learned from, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rheostat.learners.contributions import Contributions, contributions
from rheostat.learners.features import SECOND, hash_value
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.version import Version
from rheostat.streams.serving.explain_words import Words, english
from rheostat.streams.serving.requests import Row, batch_of
from rheostat.streams.serving.signals import EXAMPLES_MAX, PEOPLE_MIN, Learned, Share

Json = dict[str, Any]
Meanings = Mapping[str, Mapping[str, str]]
"""By feature set, what its features mean."""

_SAID_MAX = 5
_POINT = 0.005
"""What moves the score by less is not said."""
_VALUE_CHARS_MAX = 80


class Question(NamedTuple):
    """What is to be explained: features, and an answer that was given to them, where one was.

    `answered`: the version that gave it; the one explained where that is not kept any more is `version`. `action`: its
    place, of a model that chooses.
    """

    version: ModelVersion
    row: Row
    action: int | None = None
    answered: Version | None = None
    score: float | None = None
    prediction_id: str | None = None
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Explainer:
    """How explanations are put into words, and what is known of features."""

    words: Words = field(default_factory=english)
    meanings: Meanings = field(default_factory=dict)

    def explain(self, question: Question, learned: Learned | None) -> Json:
        """Return the explanation; learned: what the version learned last, None where it cannot be read."""
        version, schema = question.version, question.version.manifest.facts.schema
        batch = batch_of(schema, (question.row,))
        found = contributions(version.predictor, schema, version.tensors, batch, question.action)
        parts = self._parts(question, found, learned)
        signals = () if learned is None else learned.shares()
        return {
            **_head(question, found),
            "features": parts,
            "signals": [each._asdict() for each in signals],
            "words": [
                *self._opening(question, found),
                *self._of_features(parts, found),
                *self._of_signals(parts, signals),
            ],
            "limits": self._limits(question, found, signals),
        }

    def explain_fallback(self, prediction_id: str, model: str, score: float) -> Json:
        """Return the explanation of a score that no version gave."""
        return {
            "prediction_id": prediction_id,
            "model": model,
            "score": score,
            "features": [],
            "signals": [],
            "words": [self.words.say("fallback")],
            "limits": [],
        }

    def _parts(self, question: Question, found: Contributions, learned: Learned | None) -> list[Json]:
        schema = question.version.manifest.facts.schema
        values: dict[str, float | str] = dict(zip(schema.numeric, question.row.numeric, strict=True))
        values |= dict(zip(schema.categorical, question.row.categorical, strict=True))
        meanings, parts = self.meanings.get(schema.id, {}), []
        for name, contribution, points in zip(found.names, found.contribution, found.points, strict=True):
            part: Json = {"name": name, "value": values[name], "contribution": contribution, "points": points}
            if name in meanings:
                part["meaning"] = meanings[name]
            text = values[name]
            if learned is not None and isinstance(text, str):
                place = schema.categorical.index(name)
                shares = learned.shares(place, hash_value(name.removesuffix(SECOND), text)) if text else ()
                part["signals"] = [each._asdict() for each in shares]
            parts.append(part)
        return sorted(parts, key=lambda each: -abs(each["points"]))

    def _opening(self, question: Question, found: Contributions) -> list[Json]:
        facts, say = question.version.manifest.facts, self.words.say
        about = {
            "version": facts.version,
            "published": _moment(facts.published_at_ms),
            "examples": facts.examples_total,
        }
        score = question.score if question.score is not None else _score(found)
        gone = question.answered is not None and question.answered != facts.version
        opening = (
            say("newer", answered=question.answered, **about)
            if gone
            else say("answered", model=facts.model, score=f"{score:.2f}", **about)
        )
        if question.action is None or not facts.schema.actions:
            return [opening]
        return [opening, say("chosen", action=facts.schema.actions[question.action])]

    def _of_features(self, parts: Sequence[Json], found: Contributions) -> list[Json]:
        told = [each for each in parts if abs(each["points"]) >= _POINT][:_SAID_MAX]
        said = [
            self.words.say(
                "raised" if each["points"] > 0 else "lowered",
                feature=_called(each),
                value=self._value(each["value"]),
                points=round(100 * abs(each["points"])) or 1,
            )
            for each in told
        ]
        if not told:
            said.append(self.words.say("none"))
        elif len(parts) > len(told):
            said.append(self.words.say("others", count=len(parts) - len(told)))
        together = _remaining_points(found)
        if abs(together) >= _POINT:
            said.append(self.words.say("together", points=f"{100 * together:+.0f}"))
        return said

    def _of_signals(self, parts: Sequence[Json], signals: Sequence[Share]) -> list[Json]:
        if not signals:
            return []
        said = [self.words.say("learned", signals=self._shares(signals))]
        strongest = next((each for each in parts if each.get("signals") and abs(each["points"]) >= _POINT), None)
        if strongest is not None:
            shares = [Share(**each) for each in strongest["signals"]]
            about = {"feature": _called(strongest), "value": self._value(strongest["value"])}
            said.append(self.words.say("learned_of", signals=self._shares(shares), **about))
        return said

    def _shares(self, shares: Sequence[Share]) -> str:
        return ", ".join(
            self.words.text("share", kind=self.words.kind(each.kind), percent=round(100 * each.share))
            for each in shares
        )

    def _limits(self, question: Question, found: Contributions, signals: Sequence[Share]) -> list[Json]:
        limit, schema = self.words.limit, question.version.manifest.facts.schema
        return [
            limit("model"),
            limit("average" if found.reference == "mean" else "zero"),
            *([limit("approximate")] if found.method == "occlusion" else []),
            *([limit("training_only")] if schema.training_only else []),
            *([limit("action")] if schema.actions else []),
            limit("few", people=PEOPLE_MIN),
            limit("signals_all", examples=EXAMPLES_MAX) if signals else limit("signals_none"),
        ]

    def _value(self, value: float | str) -> str:
        return (value[:_VALUE_CHARS_MAX] or self.words.text("missing")) if isinstance(value, str) else f"{value:g}"


def _head(question: Question, found: Contributions) -> Json:
    facts = question.version.manifest.facts
    told = {"prediction_id": question.prediction_id, "arm": question.arm}
    chosen = facts.schema.actions[question.action] if question.action is not None and facts.schema.actions else None
    return {
        **{name: each for name, each in told.items() if each is not None},
        "model": facts.model,
        "version": str(question.answered or facts.version),
        "explained_version": str(facts.version),
        "published_at": facts.published_at_ms,
        "examples_total": facts.examples_total,
        "learner": facts.learner,
        "score": question.score if question.score is not None else _score(found),
        **({} if chosen is None else {"action": chosen}),
        "unit": found.unit,
        "method": found.method,
        "reference": found.reference,
        "base": found.base,
        "remainder": found.remainder,
        "value": found.value,
    }


def _score(found: Contributions) -> float:
    return found.in_points(found.value)


def _remaining_points(found: Contributions) -> float:
    """Return how far the score would be off without the remainder."""
    return found.in_points(found.value) - found.in_points(found.value - found.remainder)


def _called(part: Json) -> str:
    return str(part.get("meaning", part["name"])).rstrip(".")


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
