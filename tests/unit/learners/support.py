"""Data and small helpers for the tests of learners."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from hypothesis import settings
from river import datasets

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.features import batch_from_columns, select
from rheostat.learners.prequential import roc_auc

ANY_SPEED = settings(deadline=None)
"""A machine may be slow; what is found must not depend on it."""

NUMERIC = FeatureSchema("numbers@1", ("x", "y"))
CATEGORICAL = FeatureSchema("categories@1", (), ("c", "d"))
MIXED = FeatureSchema("both@1", ("x", "y", "z"), ("c",))
SCHEMAS = (NUMERIC, CATEGORICAL, MIXED)
DATA = Path(os.environ.get("RHEOSTAT_DATA", str(Path(__file__).parents[4] / "shared" / "data")))


def phishing() -> Batch:
    """River's phishing pages: 1 250 rows of 9 features."""
    rows = [([float(value) for value in x.values()], float(y)) for x, y in datasets.Phishing()]
    return _numeric_batch("phishing@1", np.array([x for x, _ in rows]), np.array([y for _, y in rows]))


def wiki_edits() -> Batch:
    """Edits of the English Wikipedia in order of time: 19 841 rows of 9 features, label "reverted"."""
    lines: list[list[float]] = []
    for name in ("training", "testing"):
        with gzip.open(DATA / "wiki-edit-reverted" / f"{name}.tsv.gz", "rt") as file:
            lines += [[_number(text) for text in line.rstrip("\n").split("\t")] for line in file]
    table = np.array(lines)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return _numeric_batch("wiki@1", table[:, 1:10], table[:, 10])


def schema_of(batch: Batch) -> FeatureSchema:
    """The schema of a batch with numeric features only."""
    return FeatureSchema(batch.schema_id, tuple(f"f{index}" for index in range(batch.numeric.shape[1])))


def prequential_auc(learner: Learner, batch: Batch, block_rows: int) -> float:
    """AUC of scores given to each block before it was learned."""
    scores: list[Floats] = []
    for start in range(0, len(batch), block_rows):
        block = select(batch, slice(start, start + block_rows))
        scores.append(learner.predict(block))
        learner.learn(block)
    auc = roc_auc(np.concatenate(scores), batch.label)
    assert auc is not None
    return auc


def _numeric_batch(schema_id: str, numeric: Floats, label: Floats) -> Batch:
    schema = FeatureSchema(schema_id, tuple(f"f{index}" for index in range(numeric.shape[1])))
    return batch_from_columns(schema, numeric, [], label)


def _number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)


def bent(rows: int, slope: float, offset: float, seed: int = 1) -> tuple[Floats, Floats, Floats]:
    """Return scores whose true probability is sigmoid(slope * logit(score) + offset), labels, and weights of 1."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.0, 1.5, rows)
    label = (rng.random(rows) < 1.0 / (1.0 + np.exp(-(slope * logit + offset)))).astype(np.float64)
    return 1.0 / (1.0 + np.exp(-logit)), label, np.ones(rows)
