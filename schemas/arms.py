"""The arm of a prediction: the variants of experiments that it was made under, as one text.

    ranker-v2:treatment                    one experiment
    checkout:short,ranker-v2:treatment     two at once, in the order of their names

It is the field `arm` of `predictions` and `examples`. The name of an experiment or variant has 1 to 64 printable
characters, neither `:` nor `,`, and no space at its ends.
"""

from __future__ import annotations

from collections.abc import Mapping

EXPERIMENTS_MAX = 16
NAME_CHARS_MAX = 64
ARM_CHARS_MAX = EXPERIMENTS_MAX * (2 * NAME_CHARS_MAX + 2) - 1
"""No arm is longer: so many names, each with the colon or comma behind it, but for the last."""


def arm_text(variants: Mapping[str, str]) -> str | None:
    """Return the arm of variants by experiment, None where there are none.

    Raises ValueError, saying what is wrong, for a name that cannot be used and for too many experiments.
    """
    if len(variants) > EXPERIMENTS_MAX:
        raise ValueError(f"names {len(variants)} experiments, at most {EXPERIMENTS_MAX} are accepted")
    for experiment, variant in variants.items():
        check_name("experiment", experiment)
        check_name("variant", variant)
    return ",".join(f"{experiment}:{variants[experiment]}" for experiment in sorted(variants)) or None


def variants_in(arm: str) -> dict[str, str]:
    """Return variants by experiment, in the order given. Raises ValueError, saying what is wrong with the text."""
    if len(arm) > ARM_CHARS_MAX:
        raise ValueError(f"has {len(arm)} characters, at most {ARM_CHARS_MAX} are accepted")
    variants: dict[str, str] = {}
    for part in arm.split(","):
        experiment, colon, variant = part.partition(":")
        if not colon:
            raise ValueError(f"must be `experiment:variant`, several joined by `,`; got {part[:NAME_CHARS_MAX]!r}")
        if experiment in variants:
            raise ValueError(f"names experiment {experiment[:NAME_CHARS_MAX]!r} twice")
        variants[experiment] = variant
    arm_text(variants)
    return variants


def check_name(what: str, name: object) -> None:
    """Raise ValueError unless this can be the name of an experiment or of a variant; `what` says which it is."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        raise ValueError(f"{what} {str(name)[:NAME_CHARS_MAX]!r} must be text of 1 to {NAME_CHARS_MAX} characters")
    if not name.isprintable() or name != name.strip() or ":" in name or "," in name:
        raise ValueError(f"{what} {name!r} must be printable, without `:` and `,` and without spaces at its ends")
