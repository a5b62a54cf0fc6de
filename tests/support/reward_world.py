"""Feedback as it really comes, with the truth known: actions chosen unevenly, labels late, false, and taken back.

Each prediction is about a place x, even in [0, 1], and shows one of two actions: b with probability x, else a. It is a
success with a probability that rises with x for b and falls for a, so whoever chose did well. What is said about it:

    success    a thumb up, after 80 minutes on average and 5 hours at most; one in ten is contradicted, and that is
               corrected away; one in ten has a thumb down before, which is taken back
    failure    a thumb down from one in four; one in twenty a thumb up, which is taken back; from the others nothing
    burst      during an hour, thumbs down at once for two in five of the successes of b; corrected to nothing. Honest
               thumbs of this hour lose three quarters of their weight at first, and get it back

Thumbs weigh 0.5 or 1.5, whatever they say: on average 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.learners.contract import Floats
from rheostat.schemas import catalogue, codec
from tests.support.examples import SCHEMA
from tests.support.join_records import T0, correction, entry, prediction

Mask = NDArray[np.bool_]

MINUTE = 60_000
HOUR = 60 * MINUTE
PERIOD_MS = 3 * HOUR
WINDOW_MS = HOUR
LATE_MS = 8 * HOUR
SETTLED_MS = PERIOD_MS + 9 * HOUR
"""After so long all has been said about the predictions of the period."""

START = T0 // HOUR * HOUR
_BURST = (60 * MINUTE, 120 * MINUTE)


def success(x: Floats, is_b: Mask) -> Floats:
    """Return the probability of success."""
    chance: Floats = np.where(is_b, 0.05 + 0.8 * x, 0.85 - 0.8 * x)
    return chance


def score(x: Floats, is_b: Mask) -> Floats:
    """Return what the model says it is: a line in logits that is not quite right."""
    chance: Floats = 1.0 / (1.0 + np.exp(-_logit(x, is_b)))
    return chance


def truth(floor: float, steps: int = 100_000) -> dict[str, float]:
    """Return the mean label, and the mean squared error of `score`, where both actions are chosen the same.

    An action with a smaller probability than `floor` counts by their ratio: that is what clipped weights estimate.
    """
    x = (np.arange(2 * steps) // 2 + 0.5) / steps
    is_b = np.arange(2 * steps) % 2 == 1
    weight = np.minimum(np.where(is_b, x, 1.0 - x) / floor, 1.0)
    good, said = success(x, is_b), score(x, is_b)
    brier = good * (1.0 - said) ** 2 + (1.0 - good) * said**2
    return {"label": float(np.average(good, weights=weight)), "brier": float(np.average(brier, weights=weight))}


def _logit(x: Floats, is_b: Mask) -> Floats:
    return np.where(is_b, 3.0, -3.0) * (x - 0.5)


@dataclass
class Said:
    """Records of one topic in columns, and when each arrives, in ms after `START`."""

    topic: str
    base: dict[str, Any]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    arrives: list[float] = field(default_factory=list)

    def add(self, arrives: Floats, **columns: Any) -> None:
        """Append records; a column is an array of their length or one value."""
        for name, value in columns.items():
            values = np.asarray(value).tolist() if isinstance(value, list | np.ndarray) else [value] * len(arrives)
            self.columns.setdefault(name, []).extend(values)
        self.arrives.extend(arrives.tolist())

    def encoded(self) -> tuple[list[bytes], NDArray[np.int64], Floats]:
        """Return values, event times and arrivals, in the order of arrival."""
        schema, count = codec.arrow_schema(self.topic), len(self.arrives)
        columns = [
            pa.array(self.columns.get(each.name, [self.base.get(each.name)] * count), each.type) for each in schema
        ]
        order = np.argsort(self.arrives, kind="stable")
        values = codec.encode_block(
            self.topic, pa.RecordBatch.from_arrays(columns, schema=schema).take(pa.array(order))
        )
        return values, np.array(self.columns["occurred_at"])[order], np.array(self.arrives)[order]


@dataclass(frozen=True)
class Feedback:
    """What was predicted, said about it and corrected in one period."""

    predictions: Said
    entries: Said
    corrections: Said

    @staticmethod
    def of(seed: tuple[int, ...], count: int) -> Feedback:
        """Draw the predictions of one period and all that is said about them."""
        return _Drawn(np.random.default_rng(seed), count).feedback()


class _Thumbs(NamedTuple):
    """Thumbs about the same matter: the numbers of their predictions, when they are given, what they count."""

    name: str
    value: float
    about: NDArray[np.intp]
    given: Floats
    weight: Floats

    def where(self, mask: Mask) -> _Thumbs:
        return self._replace(about=self.about[mask], given=self.given[mask], weight=self.weight[mask])

    def event_ids(self) -> list[str]:
        return [f"{self.name}-{number}" for number in self.about.tolist()]


class _Drawn:
    def __init__(self, random: np.random.Generator, count: int) -> None:
        self.random = random
        self.at = np.sort(random.integers(0, PERIOD_MS, count)).astype(np.float64)
        self.x = random.random(count)
        self.is_b = random.random(count) < self.x
        self.good = random.random(count) < success(self.x, self.is_b)
        self.mood = random.random(count)
        self.predictions = Said(catalogue.PREDICTIONS, prediction("", 0, model="toy", flags=[]))
        self.entries = Said(catalogue.LEDGER, entry("", "", 0))
        self.corrections = Said(catalogue.CORRECTIONS, correction(entry("", "", 0), "", 0.0))

    def feedback(self) -> Feedback:
        """Draw everything."""
        self.predict()
        self.go_on()
        good, bad = self.good, ~self.good
        honest = [self.thumbs(good, "up", 1.0), self.thumbs(bad & (self.mood < 0.25), "down", 0.0)]
        self.correct(self.thumbs(good & (self.mood < 0.1), "no", 0.0), "conflict", 0.0)
        self.take_back(self.thumbs(good & (self.mood >= 0.9), "slip", 0.0, mean_ms=5 * MINUTE))
        self.take_back(self.thumbs(bad & (self.mood >= 0.95), "mistake", 1.0))
        attacked = good & self.is_b & (self.mood >= 0.1) & (self.mood < 0.5) & _in_burst(self.at)
        self.correct(self.thumbs(attacked, "fake", 0.0, mean_ms=MINUTE), "burst", 0.0)
        for each in honest:
            unlucky = each.where(_in_burst(each.given))
            self.correct(unlucky, "burst", 0.25)
            self.correct(unlucky, "burst", 1.0, after_ms=HOUR)
        return Feedback(self.predictions, self.entries, self.corrections)

    def predict(self) -> None:
        """Let predictions be known, up to five minutes after they were made."""
        self.predictions.add(
            self.at + self.random.uniform(0, 5 * MINUTE, len(self.at)),
            prediction_id=_ids(np.arange(len(self.at))),
            occurred_at=_times(self.at),
            numeric=np.stack([_logit(self.x, self.is_b), self.x], axis=1),
            propensity=np.where(self.is_b, self.x, 1.0 - self.x),
            score=score(self.x, self.is_b),
            action=np.where(self.is_b, "b", "a"),
            segment=np.where(self.x < 0.5, "low", "high"),
            feature_set=SCHEMA.id,
        )

    def go_on(self) -> None:
        """Let time pass after the period, by what has nothing to do with it."""
        after = np.arange(PERIOD_MS, SETTLED_MS, 10.0 * MINUTE)
        ids, times = [f"later-{at:.0f}" for at in after], _times(after)
        self.predictions.add(
            after,
            prediction_id=ids,
            occurred_at=times,
            numeric=[[0.0, 0.0]] * len(after),
            propensity=None,
            score=0.5,
            action=None,
            segment=None,
            feature_set=SCHEMA.id,
        )
        self.entries.add(
            after,
            event_id=ids,
            prediction_id=None,
            occurred_at=times,
            value=0.0,
            weight=1.0,
            kind="thumb",
            retracts=None,
        )

    def thumbs(self, which: Mask, name: str, value: float, mean_ms: float = 80 * MINUTE) -> _Thumbs:
        """Let predictions get a thumb each."""
        about = np.flatnonzero(which)
        given = self.at[about] + np.minimum(self.random.exponential(mean_ms, len(about)), 5 * HOUR)
        made = _Thumbs(name, value, about, given, self.random.choice([0.5, 1.5], len(about)))
        self.entries.add(given, **_columns(made), kind="thumb", retracts=None)
        return made

    def take_back(self, thumbs: _Thumbs) -> None:
        """Let thumbs be taken back by who gave them, half an hour later on average."""
        after = thumbs.given + np.minimum(self.random.exponential(HOUR / 2, len(thumbs.about)), HOUR)
        columns = _columns(thumbs._replace(name="sorry", given=after))
        self.entries.add(after, **columns, kind="retraction", retracts=thumbs.event_ids())

    def correct(self, thumbs: _Thumbs, cause: str, keeps: float, after_ms: float = 0.0) -> None:
        """Let thumbs be corrected, an hour or less, and `after_ms`, after they were given."""
        arrives = thumbs.given + after_ms + self.random.uniform(0, HOUR, len(thumbs.about))
        self.corrections.add(arrives, **_columns(thumbs), cause=cause, keeps=keeps)


def _columns(thumbs: _Thumbs) -> dict[str, Any]:
    return {
        "event_id": thumbs.event_ids(),
        "prediction_id": _ids(thumbs.about),
        "occurred_at": _times(thumbs.given),
        "value": thumbs.value,
        "weight": thumbs.weight,
    }


def _ids(numbers: NDArray[np.intp]) -> list[str]:
    return [f"p{number}" for number in numbers.tolist()]


def _times(at: Floats) -> NDArray[np.int64]:
    return at.astype(np.int64) + START


def _in_burst(at: Floats) -> Mask:
    return (at >= _BURST[0]) & (at < _BURST[1])
