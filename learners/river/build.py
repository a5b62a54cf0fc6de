"""Makes an estimator of River from a configuration. Names come from the catalogue alone; no text is ever run.

    {"estimator": NAME, "parameters": {...}, "steps": [...]}     both optional; "steps" are the positional arguments
    {"steps": [...]}                                             a pipeline

A parameter is a number, a text, true or false, a list of values, a table of this form (an estimator, an optimiser, a
loss, a splitter, ...), or any other table, which becomes a dict; in a table whose only names are "true" and "false"
these are the two labels.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import river.api

from rheostat.learners.river.catalogue import catalogue

DEPTH_MAX = 12

Spec = Mapping[str, Any]

_FIELDS = {"estimator", "parameters", "steps"}
_PIPELINE = "compose.Pipeline"
_PLAIN = re.compile(
    r"\b(int|float|bool|str|list|dict|tuple|set|Sequence|Iterable|Callable|Any|FeatureName|ClfTarget)\b"
)
_DOTTED = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)+")


class SpecError(ValueError):
    """A configuration of an estimator is wrong; the text begins with the field."""


def build(spec: Spec, seed: int) -> Any:
    """Return the estimator that `spec` describes.

    seed: for every `seed` that the configuration leaves open, so that the same configuration always makes the same.
    Raises SpecError, naming the field, for an unknown name or parameter, one that is missing, or one that does not fit.
    """
    return _part(spec, seed, "", 0)


def names(spec: object) -> set[str]:
    """Return the names of all parts that `spec` asks for, right or wrong."""
    if isinstance(spec, Mapping):
        inner: set[str] = set().union(*map(names, spec.values()))
        return inner | {spec["estimator"]} if isinstance(spec.get("estimator"), str) else inner
    if isinstance(spec, list | tuple):
        return set().union(*map(names, spec))
    return set()


def _part(spec: object, seed: int, path: str, depth: int) -> Any:
    if not isinstance(spec, Mapping) or not spec.keys() & {"estimator", "steps"} or spec.keys() - _FIELDS:
        raise SpecError(f"{path or 'estimator'}: expected a table of 'estimator', 'parameters' and 'steps'")
    if depth > DEPTH_MAX:
        raise SpecError(f"{path}: more than {DEPTH_MAX} parts in each other")
    name = spec.get("estimator", _PIPELINE)
    cls = catalogue().get(name) if isinstance(name, str) else None
    if cls is None:
        raise SpecError(f"{_join(path, 'estimator')}: {name!r} is not a class of River; {_similar(str(name))}")
    steps, given = spec.get("steps", ()), spec.get("parameters", {})
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise SpecError(f"{_join(path, 'steps')}: expected a list")
    if not isinstance(given, Mapping):
        raise SpecError(f"{_join(path, 'parameters')}: expected a table")
    if name == _PIPELINE and not steps:
        raise SpecError(f"{_join(path, 'steps')}: a pipeline needs at least one")
    places = _join(path, "parameters"), _join(path, "steps")
    positional = [_value(step, seed, f"{places[1]}[{number}]", depth) for number, step in enumerate(steps)]
    values = {key: _value(value, seed, _join(places[0], key), depth) for key, value in given.items()}
    return _make(cls, name, positional, values, seed, places)


def _make(
    cls: type, name: str, positional: list[Any], values: dict[str, Any], seed: int, places: tuple[str, str]
) -> Any:
    parameters = inspect.signature(cls).parameters
    variadic = any(each.kind is each.VAR_POSITIONAL for each in parameters.values())
    if positional and not variadic:
        raise SpecError(f"{places[1]}: {name} takes no steps, only parameters")
    named = {key: each for key, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    for key, value in values.items():
        if key not in named:
            raise SpecError(
                f"{_join(places[0], key)}: {name} has no such parameter; it has {', '.join(named) or 'none'}"
            )
        _check(_join(places[0], key), value, named[key])
    for key, each in named.items():
        if each.default is each.empty and key not in values:
            code = "; it is a function, and a configuration holds no code" if "Callable" in str(each.annotation) else ""
            raise SpecError(f"{_join(places[0], key)}: {name} needs it{code}")
    if "seed" in named and values.get("seed") is None:
        values["seed"] = seed
    try:
        return cls(*positional, **values)
    except (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise SpecError(f"{places[0]}: {name} refuses them: {error}") from None


def _value(value: object, seed: int, path: str, depth: int) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if value.keys() & {"estimator", "steps"}:
            return _part(value, seed, path, depth + 1)
        if value and value.keys() <= {"true", "false"}:
            return {key == "true": _value(each, seed, _join(path, key), depth) for key, each in value.items()}
        return {str(key): _value(each, seed, _join(path, str(key)), depth) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_value(each, seed, f"{path}[{number}]", depth) for number, each in enumerate(value)]
    raise SpecError(f"{path}: {type(value).__name__} is not a value that a configuration can hold")


def _check(path: str, value: object, parameter: inspect.Parameter) -> None:
    """Compare a value with the parameter's default and annotation, as far as River states them."""
    annotation = "" if parameter.annotation is parameter.empty else str(parameter.annotation)
    expected = tuple(cls for cls in map(_class_of, _DOTTED.findall(annotation)) if cls is not None)
    plain = isinstance(value, bool | int | float | str | list | dict)
    if expected and not isinstance(value, expected) and (not plain or not _PLAIN.search(annotation)):
        raise SpecError(f"{path}: {value!r} is not what it takes, {annotation}")
    if not plain or "str" in annotation:
        return
    default = parameter.default
    if isinstance(default, bool) or annotation == "bool":
        fits = isinstance(value, bool)
    elif isinstance(default, int | float) or annotation in ("int", "float"):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = not isinstance(default, str) or isinstance(value, str)
    if not fits:
        raise SpecError(f"{path}: {value!r} is of another type than its default, {default!r}")


def _class_of(dotted: str) -> type | None:
    """Return the class that an annotation of River's own source means ("optim.base.Optimizer"), if it is one."""
    found: Any = river.api
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _similar(name: str) -> str:
    last = name.rpartition(".")[2].lower()
    found = [known for known in catalogue() if last and last in known.lower()]
    return f"perhaps {' or '.join(found[:3])}" if found else "see the table in learners/river/README.md"
