"""The values in a file against what a feature dictionary declares of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.leakage import THRESHOLD, FeaturePower, single_feature_power
from rheostat.learners.sketches import (
    Distance,
    category_distance,
    number_distance,
    sketch_categories,
    sketch_numbers,
)
from rheostat.schemas.feature_sets import Feature, FeatureSet
from rheostat.schemas.feature_sketches import CategorySketch, NumberSketch
from rheostat.streams.errors import ConfigError
from rheostat.streams.feature_rows import FeatureRows


@dataclass(frozen=True, slots=True)
class Measure:
    """One feature: how far its values are from its entry, and, where there are labels, how well it alone predicts."""

    feature: Feature
    distance: Distance
    power: FeaturePower | None

    @property
    def wrong(self) -> str:
        """What must not be, in words; empty if all is well."""
        found = []
        if self.distance.outside:
            found.append(f"not within {self.feature.allowed}")
        if self.power is not None and self.power.lower > THRESHOLD:
            found.append("predicts suspiciously well")
        return ", ".join(found)

    def cells(self) -> tuple[str, ...]:
        """Return it as the cells of a table."""
        power = ("", "") if self.power is None else (f"{self.power.auc:.3f}", f"{self.power.lower:.3f}")
        missing, shift = self.distance.missing, self.distance.shift
        told = "" if missing is None else f"{missing:+.1%}", "" if shift is None else f"{shift:+.2f}"
        return (self.feature.name, f"{self.distance.outside:.1%}", *told, *power, self.wrong)

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold: no infinity."""
        power = {} if self.power is None else {"auc": self.power.auc, "auc_above": self.power.lower}
        values = {**dataclasses.asdict(self.distance), **power}
        finite = {name: None if value is None or math.isinf(value) else value for name, value in values.items()}
        return {"feature": self.feature.name, **finite, "wrong": self.wrong}


def measured(declared: FeatureSet, rows: FeatureRows) -> list[Measure]:
    """Return the measure of every feature, in the order of the set."""
    powers: dict[str, FeaturePower] = {}
    if rows.positive is not None:
        schema = FeatureSchema(declared.id, declared.numeric, declared.categorical)
        powers = {each.feature: each for each in single_feature_power(schema, rows.batch(schema))}
    return [Measure(each, _distance(each, rows), powers.get(each.name)) for each in declared.features]


def baselines_toml(declared: FeatureSet, rows: FeatureRows) -> str:
    """Return the baselines of all features as they stand in a dictionary; raises ConfigError for too few rows."""
    parts = []
    for each in declared.features:
        try:
            sketch = _sketch(each, rows)
        except ValueError as error:
            raise ConfigError(f"feature {each.name!r}: {error}") from error
        parts.append(f"# {each.name}\n[feature.baseline]\n{sketch.as_toml()}")
    return "\n".join(parts)


def _distance(feature: Feature, rows: FeatureRows) -> Distance:
    if feature.type == "categorical":
        return category_distance(feature, rows.texts[feature.name])
    return number_distance(feature, rows.numbers[feature.name])


def _sketch(feature: Feature, rows: FeatureRows) -> NumberSketch | CategorySketch:
    if feature.type == "categorical":
        return sketch_categories(rows.texts[feature.name])
    return sketch_numbers(rows.numbers[feature.name])
