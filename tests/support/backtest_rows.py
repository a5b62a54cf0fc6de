"""Files of past predictions and their outcomes, and mappings of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from rheostat.learners.contract import FeatureSchema
from rheostat.streams.backtest.learner_mapping import LearnerMapping, learner_mapping

START_MS = 1_760_000_000_000
GAP_MS = 10_000
ROWS = 1_200
MAPPING: dict[str, Any] = {
    "columns": {"time": "at", "label": "sold", "segment": "country", "prediction_id": "id"},
    "features": {"numeric": ["price", "age"], "categorical": ["colour"]},
    "label": {"delay_ms": 60_000},
}


def sales(rows: int = ROWS, seed: int = 0) -> dict[str, list[Any]]:
    """Return columns: what is sold is cheap, and red in half of all countries."""
    random = np.random.default_rng(seed)
    price, age = random.normal(size=(2, rows))
    colour, country = random.choice(["red", "blue"], rows), random.choice(["DE", "FR"], rows)
    chance = 1.0 / (1.0 + np.exp(3.0 * price - 2.0 * (colour == "red") + 1.0))
    return {
        "id": [f"sale-{each}" for each in range(rows)],
        "at": (START_MS + GAP_MS * np.arange(rows)).tolist(),
        "price": price.tolist(),
        "age": age.tolist(),
        "colour": colour.tolist(),
        "country": country.tolist(),
        "sold": (random.random(rows) < chance).astype(int).tolist(),
    }


def write_rows(file: Path, columns: dict[str, list[Any]]) -> Path:
    """Write columns as CSV; None is an empty cell."""
    pyarrow.csv.write_csv(pa.table(columns), file)
    return file


def no_set(set_id: str | None) -> FeatureSchema:
    """Refuse to know any feature set."""
    raise AssertionError(f"asked for {set_id}")


def mapping_of(**changes: Any) -> LearnerMapping:
    """Return the mapping of `sales`, with some sections replaced."""
    return learner_mapping(MAPPING | changes, no_set)
