"""A recommender that learns from clicks on what it showed: what the loop does to it, and what removes it (simulated).

Each round ranks items by the scores learned so far, shows the first few to some sessions, and learns their clicks. A
click needs a look and liking: its probability is that of a look at the position, 1 / position, times the item's true
relevance (the position-based model; Craswell et al. 2008; 1 / position as Joachims, Swaminathan and Schnabel 2017 have
it). So two things are wrong with clicks as they come: what is not shown has none, however good it is, and what stands
first has most, so it stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.features import hash_value, no_context
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.logistic import sigmoid
from rheostat.learners.reweighted import Reweighted
from rheostat.learners.wrapper_settings import ReweightingSettings

ITEMS, SHOWN, BINS = 20, 5, 64
SESSIONS = 250
LOOK = 1.0 / np.arange(1, SHOWN + 1)

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recommender:
    """How a recommender shows and learns.

    explore: the share of sessions that see a ranking drawn at random. weighted: rows count by the propensity of their
    item at their position. position: it is a feature of the rows learned, and scores are those for the first position.
    """

    explore: float = 0.0
    weighted: bool = False
    position: bool = False


RECOMMENDERS: Mapping[str, Recommender] = {
    "loop": Recommender(),
    "exploring": Recommender(explore=0.2),
    "weighted": Recommender(explore=0.2, weighted=True),
    "position": Recommender(explore=0.2, position=True),
    "position_without_exploring": Recommender(position=True),
}
"""What is compared. With neither weights nor position, exploring shows every item and still learns the wrong thing."""


def bench_feedback_loop(
    rounds: int, seeds: int, progress: Callable[[float], None] = lambda done: None
) -> dict[str, Any]:
    """Run every recommender in the same worlds, one for each seed from 1 on; return means and extremes over them.

    correlation: of scores and true relevance over all items. relevance_error: root mean square of their difference,
    each divided by its mean first, for clicks tell relevance up to the chance of a look. exposure_gini: of how often
    items were shown in the last quarter of the rounds, 0 for alike. ranking: clicks to be expected from a ranking by
    the scores, as a share of those from the best.
    """
    found: dict[str, Any] = {}
    for number, (name, recommender) in enumerate(RECOMMENDERS.items()):
        runs = []
        for seed in range(1, seeds + 1):
            runs.append(run(recommender, seed, rounds))
            progress((number * seeds + seed) / (len(RECOMMENDERS) * seeds))
        found[name] = {figure: _summary([each[figure] for each in runs]) for figure in runs[0]}
    return {
        "simulated": True,
        "items": ITEMS,
        "shown": SHOWN,
        "rounds": rounds,
        "sessions_a_round": SESSIONS,
        "seeds": seeds,
        "recommenders": found,
    }


def run(recommender: Recommender, seed: int, rounds: int) -> dict[str, float]:
    """Return the figures of one recommender in one world."""
    random = default_rng(seed)
    relevance = sigmoid(random.normal(-1.0, 1.0, ITEMS))
    learner, exposures = _learner(recommender), np.zeros((rounds, ITEMS))
    for number in range(rounds):
        # Of equal scores any may be first.
        best = np.lexsort((random.random(ITEMS), -_scores(learner)))[:SHOWN]
        shown = _shown(best, recommender.explore, random)
        propensity = (1.0 - recommender.explore) * (shown == best) + recommender.explore / ITEMS
        clicked = random.random(shown.shape) < LOOK * relevance[shown]
        learner.learn(_rows(learner.schema, shown, clicked, propensity))
        learner.flush()
        exposures[number] = np.bincount(shown.ravel(), minlength=ITEMS)
    return _figures(_scores(learner), relevance, exposures[-max(rounds // 4, 1) :].sum(axis=0))


def gini(amounts: Floats) -> float:
    """Return how unequal amounts are: half their mean difference over their mean, 0 for equal ones (Gini 1912)."""
    ranked, count = np.sort(amounts), len(amounts)
    return float((2.0 * np.arange(1, count + 1) - count - 1) @ ranked / (count * ranked.sum()))


def _learner(recommender: Recommender) -> Learner:
    """Return an untrained learner; its steps shrink, for nothing changes in these worlds."""
    schema = FeatureSchema("feedback-loop@1", (), ("item", "position") if recommender.position else ("item",))
    linear = LinearSettings(optimizer="adagrad", categorical_bins=BINS)
    if not recommender.weighted:
        return RiverLinear(schema, linear)
    weights = ReweightingSettings(propensity_floor=recommender.explore / ITEMS)
    return Reweighted(lambda: RiverLinear(schema, linear), weights)


def _shown(best: Counts, explore: float, random: Generator) -> Counts:
    """Return the items (SESSIONS, SHOWN) that sessions see, in order: the best, or any, as a draw for each says."""
    anything = random.permuted(np.tile(np.arange(ITEMS), (SESSIONS, 1)), axis=1)[:, :SHOWN]
    return np.where(random.random((SESSIONS, 1)) < explore, anything, best)


def _scores(learner: Learner) -> Floats:
    items = np.arange(ITEMS)
    return learner.predict(_batch(learner.schema, items, np.zeros_like(items), np.zeros(ITEMS)))


def _rows(schema: FeatureSchema, shown: Counts, clicked: NDArray[np.bool_], propensity: Floats) -> Batch:
    position = np.tile(np.arange(SHOWN), len(shown))
    batch = _batch(schema, shown.ravel(), position, clicked.ravel().astype(np.float64))
    return replace(batch, context=replace(no_context(len(batch)), propensity=propensity.ravel()))


def _batch(schema: FeatureSchema, item: Counts, position: Counts, label: Floats) -> Batch:
    columns = [_ITEM_HASHES[item], _POSITION_HASHES[position]][: len(schema.categorical)]
    return Batch(schema.id, np.zeros((len(item), 0)), np.stack(columns, axis=1), label, np.ones(len(item)))


def _figures(scores: Floats, relevance: Floats, exposure: Floats) -> dict[str, float]:
    wrong = scores / scores.mean() - relevance / relevance.mean()
    ranked = relevance[np.argsort(-scores)][:SHOWN] @ LOOK
    return {
        "correlation": float(np.corrcoef(scores, relevance)[0, 1]),
        "relevance_error": float(np.sqrt((wrong**2).mean())),
        "exposure_gini": gini(exposure),
        "ranking": float(ranked / (np.sort(relevance)[::-1][:SHOWN] @ LOOK)),
    }


def _summary(found: list[float]) -> dict[str, float]:
    figures = {"mean": np.mean(found), "min": np.min(found), "max": np.max(found)}
    return {name: round(float(value), 3) for name, value in figures.items()}


def _distinct_hashes(name: str, count: int) -> NDArray[np.uint64]:
    """Return hashes of values of which no two fall into one bin: chance should not decide."""
    found: dict[int, int] = {}
    number = 0
    while len(found) < count:
        hashed = hash_value(name, str(number))
        found.setdefault(hashed % BINS, hashed)
        number += 1
    return np.array(list(found.values()), np.uint64)


_ITEM_HASHES, _POSITION_HASHES = _distinct_hashes("item", ITEMS), _distinct_hashes("position", SHOWN)
