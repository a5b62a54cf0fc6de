"""How far what a model says now is from what its slow core says, on given rows, and through which features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor

_CERTAIN = 1e-12


def logits(scores: Floats) -> Floats:
    """Return log(p / (1 - p)), for scores so close to 0 or 1 that they may be rounded, of 1e-12 from there."""
    clipped = np.clip(scores, _CERTAIN, 1.0 - _CERTAIN)
    return np.log(clipped) - np.log1p(-clipped)


def surface_against_core(whole: Predictor, core: Predictor, rows: Batch) -> float:
    """Return the mean absolute difference of the logits with and without the surface; 0 where there are no rows."""
    return float(np.abs(_surface(whole, core, rows)).mean()) if len(rows) else 0.0


def features_moved(whole: Predictor, core: Predictor, schema: FeatureSchema, rows: Batch) -> dict[str, float]:
    """Return, for each feature, how much of the surface's logit (mean absolute difference) goes away without it.

    Without it: a category counts as missing, a number as the rows' mean. Most moved feature first.
    """
    if not len(rows):
        return {}
    surface = _surface(whole, core, rows)
    found = {}
    for index, name in enumerate(schema.numeric):
        numeric = rows.numeric.copy()
        numeric[:, index] = numeric[:, index].mean()
        found[name] = _gap(surface, _surface(whole, core, replace(rows, numeric=numeric)))
    for index, name in enumerate(schema.categorical):
        categorical = rows.categorical.copy()
        categorical[:, index] = 0
        found[name] = _gap(surface, _surface(whole, core, replace(rows, categorical=categorical)))
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _surface(whole: Predictor, core: Predictor, rows: Batch) -> Floats:
    return logits(whole.predict(rows)) - logits(core.predict(rows))


def _gap(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).mean())
