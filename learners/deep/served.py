"""Scores from any module of torch: what a learner and a server have in common.

A module takes numbers, float32 (rows, N), already scaled, and places of categories, int64 (rows, C), and gives logits:
(rows,) or (rows, 1) for one output, (rows, actions) for tasks with actions. For pairs it is given single candidates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn

from rheostat.learners.contract import FeatureSchema, Floats, Predictor, Tensors
from rheostat.learners.deep.tensors import one_thread, single
from rheostat.learners.deep_settings import ModuleSettings, RewardSettings
from rheostat.learners.idtable import Ids
from rheostat.learners.mlp import task_predictor
from rheostat.learners.scaling import Scale
from rheostat.learners.tasks import check_task, halves, outputs

MakeModule = Callable[[FeatureSchema], nn.Module]

MODULE = "module."
"""Begins the name of every tensor of the module's own."""


class ModuleOutputs:
    """A module with the scale of its inputs; it never learns."""

    def __init__(self, module: nn.Module, scale: Scale, settings: ModuleSettings, device: torch.device, width: int):
        self._module = module
        self._scale = scale
        self._settings = settings
        self._device = device
        self._width = width

    def outputs(self, numeric: Floats, categorical: Ids) -> Floats:
        """Return the logits, float64 (rows,) or (rows, outputs), of raw numbers and hashes."""
        scaled = self._scale.apply(numeric) if numeric.shape[1] else numeric
        self._module.eval()
        with one_thread(), torch.no_grad():
            given = module_outputs(
                self._module, scaled, categorical, self._settings.category_rows, self._width, self._device
            )
        found: Floats = given.cpu().numpy().astype(np.float64)
        return found


def module_outputs(
    module: nn.Module, scaled: Floats, categorical: Ids, category_rows: int, width: int, device: torch.device
) -> Tensor:
    """Return what a module gives, (rows,) or (rows, width); ValueError for another shape."""
    given: Tensor = module(single(scaled).to(device), category_places(categorical, category_rows).to(device))
    rows = len(scaled)
    if width == 1 and given.shape == (rows, 1):
        given = given.view(rows)
    expected = (rows,) if width == 1 else (rows, width)
    if tuple(given.shape) != expected:
        raise ValueError(f"the module gave {tuple(given.shape)} for {rows} rows, expected {expected}")
    return given


def category_places(categorical: Ids, category_rows: int) -> Tensor:
    """Return places in [0, category_rows), int64 (rows, C): 0 for a missing value, and of no other."""
    places = categorical % np.uint64(category_rows - 1) + np.uint64(1)
    return torch.from_numpy(np.where(categorical == 0, 0, places).astype(np.int64))


def build_module(make_module: MakeModule, schema: FeatureSchema, seed: int) -> nn.Module:
    """Return a new module, the same one for the same seed; global random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_module(schema)


def load_builder(name: str) -> MakeModule:
    """Return the function "package.module:function"; ValueError if there is none.

    It is imported, so that its code runs: only for names from an operator's own configuration, never from a topic.
    """
    place, _, function = name.partition(":")
    try:
        found = getattr(import_module(place), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"builder {name!r} is not a function that can be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"builder {name!r} is not a function")
    return found  # type: ignore[no-any-return]


def module_predictor(schema: FeatureSchema, tensors: Tensors, modules: Mapping[str, MakeModule]) -> Predictor:
    """Return a predictor from parameters, with the module that one of these functions, by their names, makes."""
    settings = _settings(tensors)
    make_module = modules.get(settings.builder)
    if make_module is None:
        raise ValueError(
            f"its module is made by {settings.builder!r}, and given are {', '.join(sorted(modules)) or 'none'}: code "
            "never comes from a topic, whoever serves such a model must give the function"
        )
    check_task(settings.task, schema)
    module = build_module(make_module, schema, settings.seed)
    load_module(module, tensors)
    columns = len((halves(schema) if settings.task == "pairwise" else schema).numeric)
    width = outputs(settings.task, schema)
    scale = Scale.from_tensors(tensors, columns)
    return task_predictor(schema, ModuleOutputs(module, scale, settings, torch.device("cpu"), width), settings.task)


def load_module(module: nn.Module, tensors: Tensors) -> None:
    """Put named arrays into a module; ValueError if any is missing, is too much, or has another type or shape."""
    given = {name.removeprefix(MODULE): each for name, each in tensors.items() if name.startswith(MODULE)}
    own = module.state_dict()
    if given.keys() != own.keys():
        raise ValueError(f"the module's tensors are {sorted(own)}, found are {sorted(given)}")
    for name, array in given.items():
        tensor = torch.from_numpy(array.copy())
        if tensor.dtype != own[name].dtype or tensor.shape != own[name].shape:
            raise ValueError(f"tensor {MODULE}{name} does not fit: {tensor.dtype} {tuple(tensor.shape)}")
        own[name].copy_(tensor)


def _settings(tensors: Tensors) -> ModuleSettings:
    told = tensors.get("settings")
    try:
        fields = json.loads(told.tobytes()) if told is not None else {}
        return ModuleSettings(**{**fields, "rewards": RewardSettings(**fields["rewards"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tensor 'settings' is missing or says something else: {error!r}") from None
