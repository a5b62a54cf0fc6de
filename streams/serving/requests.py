"""From the JSON of a request to checked rows of features, and every way it can be wrong, by field name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.schemas.arms import arm_text, variants_in

TEXT_CHARS_MAX = 256
CATEGORY_CHARS_MAX = 1_024
_SINGLE = frozenset({"model", "features", "actions", "target_id", "subject", "segment", "arm", "unit"})
_INSTANCE = _SINGLE - {"model"}
_BATCH = frozenset({"model", "instances", "arm", "unit"})


class BadRequest(Exception):
    """The request is wrong. `field` is a path such as `instances[3].features.age_days`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class TooLarge(BadRequest):
    """The request holds more than is accepted."""


class Instance(NamedTuple):
    """One thing to predict for; `features` and `actions` are still unchecked.

    `actions`: those that the answer may choose from; None for all. `arm` is as `rheostat.schemas.arms` writes it.
    `unit`: what shall always meet the same arm, else that is `subject`.
    """

    path: str
    features: Mapping[str, Any]
    actions: object
    target_id: str | None
    subject: str | None
    segment: str | None
    arm: str | None
    unit: str | None = None


class PredictRequest(NamedTuple):
    """A parsed request: one instance, or a batch of them."""

    model: str
    instances: tuple[Instance, ...]
    single: bool


class Row(NamedTuple):
    """Features of one instance, in the order of the feature set."""

    numeric: tuple[float, ...]
    categorical: tuple[str, ...]


def parse_request(body: object, instances_max: int) -> PredictRequest:
    """Return the request in a parsed JSON body; raises BadRequest or TooLarge.

    The `arm` and the `unit` of a batch are those of its instances which say none of their own.
    """
    fields = _object("body", body)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model", "must be the name of a model")
    if "instances" not in fields:
        _only("", fields, _SINGLE)
        return PredictRequest(model, (_instance("", fields, None, None),), single=True)
    _only("", fields, _BATCH)
    given = fields["instances"]
    if not isinstance(given, list) or not given:
        raise BadRequest("instances", "must be a list of at least one instance")
    if len(given) > instances_max:
        raise TooLarge("instances", f"{len(given)} instances, at most {instances_max} are accepted")
    instances, arm, unit = [], _arm("", fields), _text("", "unit", fields)
    for index, each in enumerate(given):
        path = f"instances[{index}]"
        instance = _object(path, each)
        _only(f"{path}.", instance, _INSTANCE)
        instances.append(_instance(f"{path}.", instance, arm, unit))
    return PredictRequest(model, tuple(instances), single=False)


def read_row(schema: FeatureSchema, features: Mapping[str, Any], path: str = "features.") -> Row:
    """Return an instance's features in the schema's order; raises BadRequest naming the feature that is wrong.

    One that is not scored with may be left out: it has the value then that it has in scores.
    """
    if schema.training_only:
        features = {**dict(schema.training_only), **features}
    numeric = tuple([_number(path, name, features) for name in schema.numeric])
    categorical = tuple([_category(path, name, features) for name in schema.categorical])
    if len(features) != len(numeric) + len(categorical):
        known = (*schema.numeric, *schema.categorical)
        unknown = next(name for name in features if name not in known)
        raise BadRequest(f"{path}{_spelled(unknown)}", f"is not a feature of {schema.id}: {', '.join(known)}")
    return Row(numeric, categorical)


def read_actions(actions: Sequence[str], instance: Instance) -> list[bool]:
    """Return which of a model's actions the answer may choose; raises BadRequest naming the entry that is wrong."""
    given, path = instance.actions, f"{instance.path}actions"
    if given is None:
        return [True] * len(actions)
    if not actions:
        raise BadRequest(path, "this model does not choose")
    if not isinstance(given, list) or not given:
        raise BadRequest(path, "must be a list of at least one action")
    places = {action: place for place, action in enumerate(actions)}
    eligible = [False] * len(places)
    for index, action in enumerate(given):
        if not isinstance(action, str) or action not in places:
            raise BadRequest(f"{path}[{index}]", f"is not an action of this model: {', '.join(actions)}")
        eligible[places[action]] = True
    return eligible


def batch_of(schema: FeatureSchema, rows: Sequence[Row]) -> Batch:
    """Return checked rows as a batch to predict for, features that are not scored with at the value for scores."""
    columns = list(zip(*(row.categorical for row in rows), strict=True)) if schema.categorical else []
    numbers = np.array([row.numeric for row in rows])
    for name, value in schema.training_only:
        if isinstance(value, str):
            columns[schema.categorical.index(name)] = (value,) * len(rows)
        else:
            numbers[:, schema.numeric.index(name)] = value
    return batch_from_columns(schema, numbers, columns)


def _instance(path: str, fields: Mapping[str, Any], arm: str | None, unit: str | None) -> Instance:
    return Instance(
        path=path,
        features=_object(f"{path}features", fields.get("features")),
        actions=fields.get("actions"),
        target_id=_text(path, "target_id", fields),
        subject=_text(path, "subject", fields),
        segment=_text(path, "segment", fields),
        arm=_arm(path, fields) or arm,
        unit=_text(path, "unit", fields) or unit,
    )


def _object(path: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(path, "must be a JSON object")
    return value


def _only(path: str, fields: Mapping[str, Any], known: frozenset[str]) -> None:
    if not fields.keys() <= known:
        unknown = next(name for name in fields if name not in known)
        raise BadRequest(f"{path}{_spelled(unknown)}", f"is not known here; known: {', '.join(sorted(known))}")


def _text(path: str, name: str, fields: Mapping[str, Any]) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX or not _encodable(value):
        raise BadRequest(f"{path}{name}", f"must be text of 1 to {TEXT_CHARS_MAX} characters")
    return value


def _arm(path: str, fields: Mapping[str, Any]) -> str | None:
    value = fields.get("arm")
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"{path}arm", "must be text: experiment:variant")
    try:
        return arm_text(variants_in(value))
    except ValueError as error:
        raise BadRequest(f"{path}arm", str(error)) from error


def _number(path: str, name: str, features: Mapping[str, Any]) -> float:
    value = features.get(name)
    if type(value) is float and math.isfinite(value):
        return value
    if value is None:
        raise BadRequest(f"{path}{name}", "is missing" if name not in features else "must not be null")
    if type(value) is int and abs(value) <= 2**1023:
        return float(value)
    raise BadRequest(f"{path}{name}", f"must be a finite number, got {str(value)[:40]!r}")


def _category(path: str, name: str, features: Mapping[str, Any]) -> str:
    if name not in features:
        raise BadRequest(f"{path}{name}", "is missing; a value that is not known is null")
    value = features[name]
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > CATEGORY_CHARS_MAX or not _encodable(value):
        raise BadRequest(f"{path}{name}", f"must be text of at most {CATEGORY_CHARS_MAX} characters, or null")
    return value


def _spelled(name: str) -> str:
    """Return an unknown field's name, cut short, as an answer can say it."""
    return name[:TEXT_CHARS_MAX].encode(errors="backslashreplace").decode()


def _encodable(text: str) -> bool:
    # JSON can spell half of a surrogate pair, which no UTF-8 can hold.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
