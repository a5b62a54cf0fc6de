"""Flags evaluated as OpenFeature's clients do: hooks by stage, with the names of its specification (section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Details:
    """Evaluation details."""

    flag_key: str
    value: Any
    variant: str | None = None
    reason: str | None = None
    error_code: str | None = None


@dataclass
class Context:
    """Hook context, as far as it is the same for all SDKs."""

    flag_key: str


def split(flag: str, variant: str | None, value: Any = "") -> Details:
    """Return what a provider answers that draws variants at random."""
    return Details(flag, value, variant, "SPLIT")


def evaluate(hooks: list[Any], found: Details, fails: Exception | None = None) -> Details:
    """Run the stages around what a provider found, or around its failure; return what the application gets."""
    context, hints = Context(found.flag_key), {}  # type: ignore[var-annotated]
    for hook in hooks:
        assert hook.before(hook_context=context, hints=hints) is None
    backwards = hooks[::-1]
    try:
        if fails is not None:
            raise fails
        for hook in backwards:
            if hook.supports_flag_value_type("STRING"):
                hook.after(hook_context=context, details=found, hints=hints)
    except Exception as error:
        for hook in backwards:
            hook.error(hook_context=context, exception=error, hints=hints)
        found = Details(found.flag_key, "default", None, "ERROR", "GENERAL")
    for hook in backwards:
        hook.finally_after(hook_context=context, details=found, hints=hints)
    return found
