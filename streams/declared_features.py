"""A model's inputs as its feature dictionary declares them, refused where it must not learn from one of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas.feature_dictionary import BadDictionary, find_feature_set
from rheostat.streams.errors import ConfigError


def declared_schema(folder: Path, model: str, set_id: str, listed: FeatureSchema | None) -> FeatureSchema:
    """Return the inputs of a model whose feature set is `set_id`, from the dictionary in `folder`.

    listed: the inputs as the configuration lists them, too; they must be the same, in the same order, and it alone says
    what can be chosen and what is not scored with. Raises ConfigError when they are not, when the dictionary lacks the
    set or has it wrongly, and when a feature would leak.
    """
    where = f"models.{model}.feature_set"
    try:
        found = find_feature_set(folder, set_id)
    except BadDictionary as error:
        raise ConfigError(f"{where}: {error}") from error
    if found.leaking:
        name, _, version = set_id.rpartition("@")
        raise ConfigError(
            f"{where}: model {model!r} would learn from {_quoted(found.leaking)}, known only after the outcome "
            f'(available_at = "outcome" in {found.file}), and could not predict without it; '
            f"declare a set without it, such as {name}@{int(version) + 1}"
        )
    declared = FeatureSchema(set_id, found.numeric, found.categorical)
    if listed is None:
        return declared
    if told := _difference("numeric", listed, declared) or _difference("categorical", listed, declared):
        raise ConfigError(f"feature_sets.{set_id}: {told} {found.file}; leave the table out, or declare a new version")
    return listed


def _difference(kind: Literal["numeric", "categorical"], listed: FeatureSchema, declared: FeatureSchema) -> str | None:
    ours, theirs = getattr(listed, kind), getattr(declared, kind)
    if extra := [name for name in ours if name not in theirs]:
        return f"{kind}: {_quoted(extra)} is not declared so in"
    if lacking := [name for name in theirs if name not in ours]:
        return f"{kind}: lacks {_quoted(lacking)} of"
    return None if ours == theirs else f"{kind}: is not in the order of"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
