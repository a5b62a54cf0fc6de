"""The Open Bandit Dataset (Saito et al. 2020) as batches: what a fashion shop showed, to whom, and what was clicked."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from rheostat.learners.contract import Batch, Context, FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.streams.errors import ConfigError

FEATURES = ("position", "user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3")
_NEEDED = (*FEATURES, "item_id", "click", "propensity_score")


def read_log(path: Path) -> tuple[FeatureSchema, Batch]:
    """Return the rows of a log in order, actions being its items; ConfigError for a file that is none.

    The file is CSV, packed by gzip or not. There is no user in it, but four features of one; times are left out.
    """
    rows = _rows(path)
    items = sorted({row["item_id"] for row in rows}, key=int)
    places = {item: place for place, item in enumerate(items)}
    schema = FeatureSchema("open-bandit@1", (), FEATURES, tuple(f"item-{item}" for item in items))
    count = len(rows)
    context = Context(
        np.array([places[row["item_id"]] for row in rows], np.int64),
        np.array([float(row["propensity_score"]) for row in rows]),
        np.zeros(count, np.int64),
        np.zeros(count, np.uint64),
    )
    columns = [[row[name] for row in rows] for name in FEATURES]
    batch = batch_from_columns(schema, np.zeros((count, 0)), columns, [float(row["click"]) for row in rows])
    return schema, Batch(batch.schema_id, batch.numeric, batch.categorical, batch.label, batch.weight, context)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            reader = csv.DictReader(file)
            lacking = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if lacking:
                raise ConfigError(f"{path}: no log of the Open Bandit Dataset: it has no column {lacking[0]!r}")
            rows = list(reader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    if not rows:
        raise ConfigError(f"{path}: the log is empty")
    return rows
