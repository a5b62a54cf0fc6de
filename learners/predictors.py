"""Scoring with learned parameters, in numpy: what a server runs, and what the learners themselves score with.

Parameters by kind (float64 unless said otherwise), for a schema with N numeric and C categorical features:

    linear/1      bins u64 (1)   weights (P)   intercept (1)   scale.mean, scale.factor (P)   scale.options (2)
                  P = N + C * bins: the numeric features, then for each categorical one a 0/1 input per bin, hash % bins
    hashed-mlp/1  table f32 (R, D)   hidden.weight f32 (N + C * D, H)   hidden.bias f32 (H)   output.weight f32 (H)
                  output.bias f32 (1)   scale.mean, scale.factor (N)   scale.options (2)
                  R is a power of two; a category with hash h has row h & (R - 1); a missing one is all zeros
    hashed-mlp/2  as hashed-mlp/1 and task u8, one of `tasks.TASKS`; for A > 1 actions, output.weight f32 (H, A) and
                  output.bias f32 (A); for pairs, N and C are of one candidate. Or besides ids.keys u64 (O): the table's
                  first O rows belong to these ids, see `idtable`, and the others, a power of two, are shared as above
    bayes-logistic/1  weights (D)   basis.waves (I, W)   basis.phases (W)   basis.edges (E)   basis.options (2)
                  odds.table f32 (R, 2)   odds.base (2)   odds.pairs i64 (Q, 2)   scale.mean, scale.factor (N)
                  scale.options (2)   I = N + C + Q; D = 1 + I + N * E + W + C * bins, see `basis`, `category_odds`
    linear-bandit/1   see `bandits.served`; it chooses, too (`bandits.choosing.Chooser`)
    river-*/1     see `river.exported`
    river/1       the state of an estimator of River, see `river.program`; only these need River where they are served
    torch-module/1  module.NAME, the tensors of a module of torch   settings u8, JSON   scale.mean, scale.factor (N)
                  scale.options (2)   only these need torch and the function that makes the module, see `deep.served`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rheostat.learners.bandits.served import LINEAR_BANDIT, bandit_predictor
from rheostat.learners.bayes_served import BAYES_LOGISTIC, bayes_predictor
from rheostat.learners.contract import FeatureSchema, Predictor, Tensors
from rheostat.learners.linear_served import linear_predictor
from rheostat.learners.mlp import HASHED_MLP, MLP, mlp_predictor
from rheostat.learners.river.exported import EXPORTED, RIVER, exported_predictor

LINEAR = "linear/1"
TORCH_MODULE = "torch-module/1"

Modules = Mapping[str, Callable[[FeatureSchema], Any]]
"""Functions that make modules of torch, by the names that models know them by."""

NO_MODULES: Modules = {}

PARAMETER_MAX = 1e6
"""A step that makes a larger parameter is an explosion; below it no score can overflow."""


def predictor(
    kind: str,
    schema: FeatureSchema,
    tensors: Tensors,
    *,
    copy: bool = True,
    modules: Modules = NO_MODULES,
) -> Predictor:
    """Return what scores batches of `schema` with these parameters; without `copy` they must not change any more.

    modules: for kind torch-module/1; they come from whoever runs this, never from a topic. Raises ValueError for an
    unknown kind, and for parameters that do not fit the schema or each other.
    """
    if kind == LINEAR:
        return linear_predictor(schema, _copied(tensors) if copy else tensors)
    if kind in (HASHED_MLP, MLP):
        return mlp_predictor(schema, kind, _copied(tensors) if copy else tensors)
    if kind == BAYES_LOGISTIC:
        return bayes_predictor(schema, _copied(tensors) if copy else tensors)
    if kind == LINEAR_BANDIT:
        return bandit_predictor(schema, _copied(tensors) if copy else tensors)
    if kind in EXPORTED:
        return exported_predictor(kind, schema, _copied(tensors) if copy else tensors)
    if kind == RIVER:
        return _river_predictor(schema, tensors)
    if kind == TORCH_MODULE:
        return _module_predictor(schema, tensors, modules)
    known = (LINEAR, HASHED_MLP, MLP, BAYES_LOGISTIC, LINEAR_BANDIT, *EXPORTED, RIVER, TORCH_MODULE)
    raise ValueError(f"unknown kind of model {kind!r}; known are {', '.join(known)}")


def _river_predictor(schema: FeatureSchema, tensors: Tensors) -> Predictor:
    try:
        from rheostat.learners.river.served import RiverPredictor
    except ImportError as error:
        raise ValueError(f"a model of kind {RIVER!r} needs River, install rheostat[worker]: {error}") from None
    return RiverPredictor(schema, tensors)


def _module_predictor(schema: FeatureSchema, tensors: Tensors, modules: Modules) -> Predictor:
    try:
        from rheostat.learners.deep.served import module_predictor
    except ImportError as error:
        raise ValueError(f"a model of kind {TORCH_MODULE!r} needs torch, install rheostat[torch]: {error}") from None
    return module_predictor(schema, tensors, modules)


def _copied(tensors: Tensors) -> Tensors:
    return {name: tensor.copy() for name, tensor in tensors.items()}
