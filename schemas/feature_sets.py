"""What a feature dictionary says about the inputs of models. How it is written in files: `feature_dictionary.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from rheostat.schemas.feature_sketches import CategorySketch, NumberSketch

FeatureType = Literal["numeric", "boolean", "categorical"]
AvailableAt = Literal["request", "prediction", "outcome"]

FEATURE_TYPES: Mapping[FeatureType, str] = MappingProxyType(
    {
        "numeric": "a number",
        "boolean": "0 or 1, a numeric input of the model",
        "categorical": "text, hashed",
    }
)
AVAILABLE_AT: Mapping[AvailableAt, str] = MappingProxyType(
    {
        "request": "whoever asks knows it when asking",
        "prediction": "fixed when the answer is shown, before anyone can react to it: its position, a value looked up",
        "outcome": "known only after someone has reacted; never an input of a model",
    }
)
CONSENT_BASES: Mapping[str, str] = MappingProxyType(
    {
        "not-personal": "says nothing about a person",
        "consent": "the person agreed to this use",
        "contract": "needed for a contract with the person",
        "legal-obligation": "the law demands it",
        "vital-interests": "needed to protect someone's life",
        "public-task": "needed for a task in the public interest",
        "legitimate-interests": "weighed against the interests of the person",
    }
)
"""`not-personal`, and the six lawful bases of article 6 (1) of the GDPR (Regulation (EU) 2016/679)."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature.

    unit, low, high: of numbers; the range includes both ends. categories: the values there are, where the list is
    closed; otherwise at most `categories_max` values that are told apart.
    """

    name: str
    type: FeatureType
    meaning: str
    owner: str
    consent_basis: str
    retention_days: int
    available_at: AvailableAt
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()
    categories_max: int | None = None
    baseline: NumberSketch | CategorySketch | None = None

    @property
    def allowed(self) -> str:
        """What its values may be, in words."""
        if self.type == "categorical":
            return ", ".join(self.categories) or f"at most {self.categories_max} values"
        return "0 or 1" if self.type == "boolean" else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of one set, `NAME@VERSION`, in the order in which a model takes them, and the file they stand in."""

    id: str
    file: Path
    meaning: str
    features: tuple[Feature, ...]

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the numeric inputs in order, booleans among them."""
        return tuple(each.name for each in self.features if each.type != "categorical")

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical inputs, in order."""
        return tuple(each.name for each in self.features if each.type == "categorical")

    @property
    def leaking(self) -> tuple[str, ...]:
        """Names of the features that are known only after the outcome: a model that learns from them cannot predict."""
        return tuple(each.name for each in self.features if each.available_at == "outcome")
