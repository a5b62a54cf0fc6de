"""Features that say the same: nearly constant ones, and groups of which each tells what the others are.

Numbers are compared by the correlation of their ranks, so that a copy in another unit, or its logarithm, is a copy.
Categories are compared by how much better one is guessed knowing the other (Goodman and Kruskal's lambda, 1954): 1
where it is determined, 0 where knowing the other does not help. Numbers are not compared with categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats

ALIKE = 0.98
CONSTANT = 0.999
ROWS_MAX = 50_000
_Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Alike:
    """Features of one kind that are copies of each other; `least` is the least likeness of those that link them."""

    features: tuple[str, ...]
    least: float


def constant_shares(schema: FeatureSchema, batch: Batch) -> dict[str, float]:
    """Return the share of its commonest value of every feature; a missing category is a value, too."""
    names = (*schema.numeric, *schema.categorical)
    columns = (*batch.numeric.T, *batch.categorical.T)
    return {name: _top_share(column) for name, column in zip(names, columns, strict=True)}


def alike(schema: FeatureSchema, batch: Batch, threshold: float = ALIKE) -> list[Alike]:
    """Return the groups of features that are copies, in the order of the schema; nearly constant ones are left out.

    At most 50,000 rows are looked at, evenly spread.
    """
    rows = slice(None, None, max(1, len(batch) // ROWS_MAX))
    numeric, categorical = batch.numeric[rows], batch.categorical[rows]
    shares = constant_shares(schema, batch)
    ranks = {name: _ranks(column) for name, column in zip(schema.numeric, numeric.T, strict=True)}
    codes = {
        name: np.asarray(np.unique(column, return_inverse=True)[1], np.intp)
        for name, column in zip(schema.categorical, categorical.T, strict=True)
    }
    links = {pair: each for pair, each in (*_number_links(ranks), *_category_links(codes)) if each >= threshold}
    links = {pair: each for pair, each in links.items() if max(shares[name] for name in pair) < CONSTANT}
    return list(_groups((*schema.numeric, *schema.categorical), links))


def _number_links(ranks: Mapping[str, Floats]) -> Iterator[tuple[tuple[str, str], float]]:
    for one, other in combinations(ranks, 2):
        yield (one, other), abs(float(ranks[one] @ ranks[other]))


def _category_links(codes: Mapping[str, _Codes]) -> Iterator[tuple[tuple[str, str], float]]:
    for one, other in combinations(codes, 2):
        yield (one, other), min(_guessed(codes[one], codes[other]), _guessed(codes[other], codes[one]))


def _ranks(values: Floats) -> Floats:
    """Return mean ranks, centred and of length 1, so that a product of two is their correlation; 0 for a constant."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[places]
    ranks = ranks - ranks.mean()
    length = float(np.sqrt(ranks @ ranks))
    return np.asarray(ranks / length if length else ranks, np.float64)


def _guessed(known: _Codes, asked: _Codes) -> float:
    """Return lambda: by what share fewer guesses of `asked` are wrong where `known` is known."""
    pairs, counts = np.unique(np.stack([known, asked]), axis=1, return_counts=True)
    best = np.zeros(int(known.max()) + 1, np.int64)
    np.maximum.at(best, pairs[0], counts)
    blind = int(np.bincount(asked).max())
    return (int(best.sum()) - blind) / (len(asked) - blind) if len(asked) > blind else 0.0


def _top_share(column: NDArray[np.generic]) -> float:
    return float(np.unique(column, return_counts=True)[1].max() / len(column)) if len(column) else 1.0


def _groups(names: tuple[str, ...], links: Mapping[tuple[str, str], float]) -> Iterator[Alike]:
    """Yield the groups that links hold together."""
    group_of = {name: {name} for name in names}
    for one, other in links:
        merged = group_of[one] | group_of[other]
        group_of.update(dict.fromkeys(merged, merged))
    for name in names:
        members = group_of[name]
        if len(members) > 1 and name == next(each for each in names if each in members):
            inside = [each for pair, each in links.items() if pair[0] in members]
            yield Alike(tuple(each for each in names if each in members), min(inside))
