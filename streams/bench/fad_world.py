"""A simulated world of weeks in which one topic is in fashion for a day, and another changes for good.

Rows have three numbers and a topic; the logarithm of the odds is a weighted sum of the numbers and the topic's own
term. Ordinary topics share the traffic alike. The fad: for one day its topic is asked for far more often, and its term
jumps; afterwards the term is the old one, and hardly anybody asks. The change: another topic's term jumps and stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.features import hash_value, no_context
from rheostat.learners.logistic import sigmoid

DAY_MS = 86_400_000
HOURS = 24
SCHEMA = FeatureSchema("fads@1", numeric=("price", "distance", "novelty"), categorical=("topic",))
FAD, CHANGED, TOPICS = 0, 1, 10
"""The topic of the fad, the one that changes, and how many there are."""

_EPOCH_MS = 20_000 * DAY_MS
_LINEAR_BINS = 16


@dataclass(frozen=True, slots=True)
class World:
    """When what happens, in days from the start; the fad's shares of the traffic before, during and after its day."""

    days: int = 42
    fad_day: int = 14
    change_day: int = 21
    rows_per_hour: int = 100
    fad_shares: tuple[float, float, float] = (0.03, 0.3, 0.003)
    fad_terms: tuple[float, float] = (-1.0, 2.0)
    change_terms: tuple[float, float] = (1.2, -1.2)

    def terms(self, hour: int) -> Floats:
        """Return the term of every topic."""
        terms = np.linspace(-1.0, 1.0, TOPICS)
        terms[FAD] = self.fad_terms[hour // HOURS == self.fad_day]
        terms[CHANGED] = self.change_terms[hour >= self.change_day * HOURS]
        return terms

    def rows(self, hour: int, random: Generator) -> tuple[Batch, Floats]:
        """Return the rows of an hour in order of time, and their true probabilities."""
        count, day = self.rows_per_hour, hour // HOURS
        share = self.fad_shares[(day >= self.fad_day) + (day > self.fad_day)]
        shares = np.array([share, *[(1.0 - share) / (TOPICS - 1)] * (TOPICS - 1)])
        topic = random.choice(TOPICS, count, p=shares)
        numeric = random.normal(size=(count, 3))
        truth = sigmoid(numeric @ _WEIGHTS + self.terms(hour)[topic])
        times = _EPOCH_MS + np.sort(((hour + random.random(count)) * DAY_MS / HOURS).astype(np.int64))
        context = no_context(count)
        context.occurred_at_ms[:] = times
        context.stratum[:] = _HASHES[topic]
        label = (random.random(count) < truth).astype(np.float64)
        return Batch(SCHEMA.id, numeric, _HASHES[topic][:, None], label, np.ones(count), context), truth


def probes(topic: int) -> Batch:
    """Return rows of one topic with the same numbers for every topic: what a model says of it, on average."""
    numeric = default_rng(1).normal(size=(64, 3))
    return Batch(SCHEMA.id, numeric, np.full((64, 1), _HASHES[topic]), np.zeros(64), np.ones(64))


def _distinct_hashes() -> list[int]:
    """Return the hashes of topics of which no two fall into one bin of a linear model: chance should not decide."""
    found: dict[int, int] = {}
    number = 0
    while len(found) < TOPICS:
        hashed = hash_value("topic", f"topic-{number}")
        found.setdefault(hashed % _LINEAR_BINS, hashed)
        number += 1
    return list(found.values())


_WEIGHTS = np.array([1.0, -0.7, 0.3])
_HASHES = np.array(_distinct_hashes(), np.uint64)
