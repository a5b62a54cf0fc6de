"""`TorchLearner`: any module of torch as a learner."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Predictor, Snapshot, Tensors
from rheostat.learners.deep.losses import loss_gradient
from rheostat.learners.deep.module_step import Steps
from rheostat.learners.deep.served import MODULE, MakeModule, ModuleOutputs, build_module, load_module, module_outputs
from rheostat.learners.deep.tensors import one_thread
from rheostat.learners.deep_settings import ModuleSettings
from rheostat.learners.digest import dtype_name
from rheostat.learners.features import check_batch
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.mlp import ChoicePredictor, task_predictor
from rheostat.learners.predictors import TORCH_MODULE
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.tasks import ACTION_TASKS, candidates, check_task, halves, outputs, teachable

_SEEDS = (1 << 63) - 1
_SEED_STEP = 1_000_003


class TorchLearner:
    """A module of torch, an optimiser and a task; see `deep.served` for what a module takes and gives.

    Numbers are scaled as they are learned. Rows of weight 0 are not seen at all. On the CPU it is deterministic: one
    thread, a seeded start, and random numbers of a step (dropout) that follow from its number. On CUDA the last bits of
    sums may differ from run to run, so that a version cannot be proved by learning it again. A step with a gradient or
    a result that is not finite, or too large (`PARAMETER_MAX`), is undone and counted.
    """

    kind = TORCH_MODULE

    def __init__(self, schema: FeatureSchema, make_module: MakeModule, settings: ModuleSettings) -> None:
        """Raise ValueError for settings that do not fit the features, and for a module that cannot be a learner's."""
        check_task(settings.task, schema)
        self._schema, self._make_module, self._settings = schema, make_module, settings
        self._single = halves(schema) if settings.task == "pairwise" else schema
        self._width = outputs(settings.task, schema)
        self._device = chosen_device(settings.device)
        self._module = build_module(make_module, schema, settings.seed).to(self._device)
        _check_module(self._module)
        self._steps = Steps(self._module, settings.optimiser, settings.parameters, settings.gradient_norm_max)
        self._pending = MicroBatcher(schema, settings.batch_rows, context=self.needs_context)
        self._scale = RunningScale(len(self._single.numeric), settings.signed_log, settings.input_clip)
        self._loss_gradient = loss_gradient(settings.task, settings.rewards)
        self._learned_rows = self._made = self._undone = 0
        try:
            self.predict(_one_row(schema))
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(f"the module of {settings.builder!r} cannot take these features: {error}") from error

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._schema

    @property
    def needs_context(self) -> bool:
        """Whether it learns from actions."""
        return self._settings.task in ACTION_TASKS

    @property
    def steps_undone(self) -> int:
        """How many steps were undone because something exploded."""
        return self._undone

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; a step is made whenever `batch_rows` rows are there."""
        check_batch(self._schema, batch)
        for rows in self._pending.add(teachable(self._settings.task, self._schema, batch)):
            self._step(rows)

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        for rows in self._pending.drain():
            self._step(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return what the task says of each row (see `tasks`), float64 (rows,); waiting rows have no part in it."""
        return self._predictor().predict(batch)

    def choices(self, batch: Batch) -> Floats:
        """Return what is expected of every action, see `mlp.ChoicePredictor`; ValueError for another task."""
        answers = self._predictor()
        if not isinstance(answers, ChoicePredictor):
            raise ValueError(f"task {self._settings.task!r} has no actions")
        return answers.choices(batch)

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor` needs, given the function that makes the module."""
        state = {f"{MODULE}{name}": _array(tensor) for name, tensor in self._module.state_dict().items()}
        return {**state, **self._scale.frozen().tensors(), "settings": settings_tensor(self._settings.recorded())}

    def learned(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters that learning moves, see `wrapping.Adjustable`."""
        return {f"{MODULE}{name}": _array(tensor) for name, tensor in self._module.named_parameters()}

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the optimiser's state stays."""
        state = {f"{MODULE}{name}": _array(tensor) for name, tensor in self._module.state_dict().items()}
        load_module(self._module, {**state, **learned})

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        tensors: Tensors = {
            **{name: _array(tensor) for name, tensor in self._steps.state().items()},
            "counters": np.array([self._learned_rows, self._made, self._undone], np.int64),
            "settings": settings_tensor(self._settings.recorded()),
            **self._scale.tensors(),
            **self._pending.tensors(),
        }
        return Snapshot(self.kind, self._schema.id, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema or settings, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = TorchLearner(self._schema, self._make_module, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, self._settings.recorded())
        state = {name: each for name, each in tensors.items() if name.startswith((MODULE, "optimiser."))}
        self._steps.put({name: torch.from_numpy(each.copy()) for name, each in state.items()})
        self._learned_rows, self._made, self._undone = take(tensors, "counters", np.int64, (3,)).tolist()
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _predictor(self) -> Predictor:
        given = ModuleOutputs(self._module, self._scale.frozen(), self._settings, self._device, self._width)
        return task_predictor(self._schema, given, self._settings.task)

    def _step(self, batch: Batch) -> None:
        self._learned_rows += len(batch)
        shown = candidates(batch) if self._settings.task == "pairwise" else batch
        scaled = self._scale.update(shown.numeric) if shown.numeric.shape[1] else shown.numeric
        devices = [self._device] if self._device.type == "cuda" else []
        with one_thread(), torch.random.fork_rng(devices=devices):
            torch.manual_seed((self._settings.seed * _SEED_STEP + self._made + self._undone) % _SEEDS)
            self._module.train()
            made = self._steps.make(lambda: self._backward(batch, shown, scaled))
        self._made, self._undone = self._made + made, self._undone + (not made)

    def _backward(self, batch: Batch, shown: Batch, scaled: Floats) -> None:
        rows = self._settings.category_rows
        given = module_outputs(self._module, scaled, shown.categorical, rows, self._width, self._device)
        outputs: Floats = given.detach().cpu().numpy().astype(np.float64)
        weight = np.minimum(batch.weight, self._settings.weight_max)
        with np.errstate(all="ignore"):
            of_outputs = torch.from_numpy(self._loss_gradient(outputs, batch, weight) / len(batch))
        given.backward(of_outputs.to(given))  # type: ignore[no-untyped-call]


def chosen_device(name: str) -> torch.device:
    """Return the device for "cpu", "cuda" or "auto"; ValueError for CUDA where it is not present."""
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ValueError('device "cuda": CUDA is not present here; "auto" would take the CPU then')
    return torch.device("cuda" if present and name != "cpu" else "cpu")


def _check_module(module: nn.Module) -> None:
    """Raise ValueError for a module whose state could not be kept, or that learns from what is in a batch together."""
    if not any(each.requires_grad for each in module.parameters()):
        raise ValueError("the module has no parameters to learn")
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"{type(each).__name__} normalises by micro-batch, and one may have a single row")
    for name, tensor in module.state_dict().items():
        if tensor.dtype == torch.bfloat16:
            raise ValueError(f"tensor {name!r} of the module is bfloat16; use float32")
        dtype_name(_array(tensor).dtype)
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name!r} of the module is not finite; register a constant with persistent=False")


def _one_row(schema: FeatureSchema) -> Batch:
    columns = np.zeros((1, len(schema.numeric))), np.zeros((1, len(schema.categorical)), np.uint64)
    return Batch(schema.id, *columns, np.zeros(1), np.ones(1))


def _array(tensor: Tensor) -> NDArray[np.floating]:
    array: NDArray[np.floating] = tensor.detach().cpu().numpy().copy()
    return array
