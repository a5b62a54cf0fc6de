"""Which arm of a model answers whom: a share of all units each, and for the rest the model itself, the arm `default`.

A unit is whatever shall always meet the same arm, such as a person's pseudonym. It has a place on [0, 1):

    place(salt, what, unit) = floor(n / 2^11) / 2^53      n: the first 8 bytes, big-endian, of SHA-256 of the UTF-8 text
                                                          "SALT:WHAT:UNIT"

WHAT is the model's name. Arms that answer lie on [0, 1) from 0 on, in the order of their names (by code points), each
as wide as its share; beyond them is the default. So when the share of the last arm by name grows, whoever was in it
stays, and others come only from the default. Another salt places everybody anew. A shadow takes the units whose place
with "MODEL:ARM" as WHAT is below its share.

The same in any language: tests/vectors/arms.json. No Kafka, no clock, no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rheostat.schemas.arms import check_name
from rheostat.streams.models.version import Version

DEFAULT = "default"
"""The arm of whoever is in no other: the model that was asked for."""

SHADOW, NAMED, NOT_STICKY, FALLEN_BACK = "shadow", "arm-named", "not-sticky", "arm-fallback"
"""Flags of predictions: not shown; its arm was named by the request; decided by its id; in the place of an arm."""

Skip = Literal["no-version", "too-old", "features", "failed", "full"]
"""Why an arm gave no prediction; features: it takes others than the model; full: there was no room for a shadow."""

SKIPS: tuple[Skip, ...] = get_args(Skip)

_SHARES_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Arm:
    """What else may answer for a model: another `model`, or a fixed `version` of the same one.

    share: of units, in [0, 1]; an arm with none answers only where a request names it. shadow: it answers nobody; its
    answers are logged beside those that were shown, of all units where no share is set.
    """

    model: str | None = None
    version: str | None = None
    share: float | None = None
    shadow: bool = False

    def __post_init__(self) -> None:
        if (self.model is None) == (self.version is None):
            raise ValueError("an arm has either a model, or a version of the same model")
        if self.version is not None:
            Version.parse(self.version)
        if self.share is None and not self.shadow:
            raise ValueError("share: must be set, the share of units that this arm answers, such as 0.05")
        if not 0.0 <= self.width <= 1.0:
            raise ValueError(f"share: {self.share}, must be in [0, 1]")

    @property
    def width(self) -> float:
        """The share as a number."""
        return 1.0 if self.share is None else self.share


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """The arms of one model by name, in the order of their names. ValueError for what cannot be."""

    model: str
    salt: str
    answering: Mapping[str, Arm]
    shadows: Mapping[str, Arm]

    @staticmethod
    def of(model: str, arms: Mapping[str, Arm], salt: str = "") -> ArmPlan:
        """Return the plan of a model with these arms."""
        if ":" in salt:
            raise ValueError(f"arms_salt: {salt!r}, must have no colon")
        check_name("model", model)
        for name, arm in arms.items():
            check_name("arm", name)
            if name == DEFAULT or arm.model == model:
                raise ValueError(f"arm {name!r}: is the model itself, which answers whoever is in no other arm")
        ordered = {name: arms[name] for name in sorted(arms)}
        answering = {name: arm for name, arm in ordered.items() if not arm.shadow}
        if sum(arm.width for arm in answering.values()) > 1.0 + _SHARES_SLACK:
            raise ValueError(f"arms {', '.join(answering)}: have shares of more than 1 together")
        return ArmPlan(model, salt, answering, {name: arm for name, arm in ordered.items() if arm.shadow})

    @property
    def models(self) -> frozenset[str]:
        """The other models that answer."""
        return frozenset(
            arm.model for arm in (*self.answering.values(), *self.shadows.values()) if arm.model is not None
        )

    @property
    def versions(self) -> frozenset[Version]:
        """The versions of this model that answer."""
        arms = (*self.answering.values(), *self.shadows.values())
        return frozenset(Version.parse(arm.version) for arm in arms if arm.version is not None)

    def arm_of(self, unit: str) -> str:
        """Return the arm that answers a unit."""
        at, end = place(self.salt, self.model, unit), 0.0
        for name, arm in self.answering.items():
            end += arm.width
            if at < end:
                return name
        return DEFAULT

    def shadows_of(self, unit: str) -> list[str]:
        """Return the shadows that take part where a unit is answered."""
        return [
            name
            for name, arm in self.shadows.items()
            if arm.width == 1.0 or place(self.salt, f"{self.model}:{name}", unit) < arm.width
        ]


def place(salt: str, what: str, unit: str) -> float:
    """Return where a unit lies on [0, 1), as above."""
    digest = hashlib.sha256(f"{salt}:{what}:{unit}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
