"""`TorchLearner`: any module and optimiser keeps the contract; what cannot is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rheostat.learners.checks import Serve, check_learner, toy_batch
from rheostat.learners.contract import FeatureSchema, Predictor, Tensors
from rheostat.learners.deep.module_step import OPTIMISERS
from rheostat.learners.deep.served import MakeModule, load_builder
from rheostat.learners.deep.torch_learner import TorchLearner, chosen_device
from rheostat.learners.deep_settings import ModuleSettings, RewardSettings
from rheostat.learners.digest import tensors_digest
from rheostat.learners.predictors import PARAMETER_MAX, predictor
from tests.unit.learners.deep.modules import ROWS, linear, of_one_candidate, wide
from tests.unit.learners.deep.support import ACTIONS, PAIRS
from tests.unit.learners.deep.test_contract import ONE_RIGHT, ORDER
from tests.unit.learners.support import MIXED, NUMERIC

NAME = "tests.unit.learners.deep.modules:wide"
SMALL = ModuleSettings(NAME, category_rows=ROWS, batch_rows=100, parameters={"lr": 0.05})
EXCUSED = ("it learns", "weight moves the model")
slow = partial(pytest.param, marks=pytest.mark.slow)


def serving(make_module: MakeModule) -> Serve:
    """Return what serves models of this function's modules."""

    def serve(kind: str, schema: FeatureSchema, tensors: Tensors) -> Predictor:
        return predictor(kind, schema, tensors, modules={NAME: make_module})

    return serve


@pytest.mark.parametrize(
    ("schema", "make_module", "settings", "excused"),
    [
        (MIXED, wide, SMALL, {}),
        (NUMERIC, linear, replace(SMALL, optimiser="sgd", parameters={"lr": 1.0, "momentum": 0.5}), {}),
        slow(MIXED, wide, replace(SMALL, task="regression", optimiser="adagrad", parameters={"lr": 0.1}), {}),
        slow(PAIRS, of_one_candidate, replace(SMALL, task="pairwise"), {"it learns": ORDER}),
        slow(ACTIONS, wide, replace(SMALL, task="classes"), dict.fromkeys(EXCUSED, ONE_RIGHT)),
        slow(ACTIONS, wide, replace(SMALL, task="rewards", rewards=RewardSettings(self_normalised=True)), {}),
    ],
)
def test_modules_keep_the_contract(
    schema: FeatureSchema, make_module: MakeModule, settings: ModuleSettings, excused: dict[str, str]
) -> None:
    check_learner(lambda: TorchLearner(schema, make_module, settings), serving(make_module), excused=excused)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_goes_on_from_its_state(optimiser: str) -> None:
    settings = replace(SMALL, optimiser=optimiser)
    learner, batch = TorchLearner(MIXED, wide, settings), toy_batch(MIXED, 333, 1)
    learner.learn(batch)
    restored = TorchLearner(MIXED, wide, settings)
    restored.restore(learner.snapshot())
    for each in (learner, restored):
        each.learn(batch)
        each.flush()
    assert tensors_digest(learner.snapshot().tensors) == tensors_digest(restored.snapshot().tensors)
    assert not np.array_equal(learner.predict(batch), TorchLearner(MIXED, wide, settings).predict(batch))


def test_random_numbers_are_its_own() -> None:
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        learner = TorchLearner(MIXED, wide, SMALL)
        learner.learn(toy_batch(MIXED, 96, 1))
        assert torch.rand(1) == expected
        digests.add(tensors_digest(learner.parameters()))
    assert len(digests) == 1
    other = TorchLearner(MIXED, wide, replace(SMALL, seed=2))
    assert not np.array_equal(other.predict(toy_batch(MIXED, 9, 1)), learner.predict(toy_batch(MIXED, 9, 1)))


class Exploding(nn.Module):
    """Its gradient, or its parameter, is infinite once it has seen a number above 2 deviations."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.weight = way, nn.Parameter(torch.ones(1))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        self.seen += len(numeric) * self.training
        large = (numeric.max() > 2.0) if self.training else torch.tensor(False)
        if large and self.way == "gradient":
            return numeric[:, 0] * self.weight * torch.inf
        return numeric[:, 0] * self.weight


@pytest.mark.parametrize(("way", "lr"), [("gradient", 0.1), ("parameter", 10.0 * PARAMETER_MAX)])
def test_a_step_that_explodes_leaves_no_trace_but_its_count(way: str, lr: float) -> None:
    settings = replace(SMALL, batch_rows=32, parameters={"lr": lr})
    learner = TorchLearner(NUMERIC, lambda schema: Exploding(way), settings)
    before = learner.learned()
    batch = toy_batch(NUMERIC, 320, 1)
    learner.learn(replace(batch, numeric=np.where(np.arange(320)[:, None] % 32 == 0, 1e9, batch.numeric)))
    assert learner.steps_undone == 10
    state = learner.snapshot().tensors
    assert np.array_equal(learner.learned()["module.weight"], before["module.weight"])
    assert state["module.seen"].tolist() == [0.0]
    assert not any(name.startswith("optimiser.") for name in state)


def test_a_long_gradient_is_shortened() -> None:
    batch, moved = toy_batch(NUMERIC, 100, 1), []
    for longest in (1e9, 1e-3):
        settings = replace(SMALL, optimiser="sgd", parameters={"lr": 1.0}, gradient_norm_max=longest)
        learner = TorchLearner(NUMERIC, linear, settings)
        learner.learn(batch)
        moved.append(float(np.linalg.norm(learner.learned()["module.weight"])))
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)


def test_learned_numbers_can_be_moved_from_outside() -> None:
    learner, other = TorchLearner(MIXED, wide, SMALL), TorchLearner(MIXED, wide, SMALL)
    learner.learn(toy_batch(MIXED, 96, 1))
    other.adjust(learner.learned())
    assert all(np.array_equal(each, other.learned()[name]) for name, each in learner.learned().items())
    with pytest.raises(ValueError, match="does not fit"):
        other.adjust({"module.output.bias": np.zeros(2, np.float32)})


def test_a_server_must_be_given_the_function_that_makes_the_module() -> None:
    learner = TorchLearner(MIXED, wide, SMALL)
    for modules in ({}, {"other:function": wide}):
        with pytest.raises(ValueError, match="code never comes from a topic"):
            predictor(learner.kind, MIXED, learner.parameters(), modules=modules)


@pytest.mark.parametrize("broken", ["without settings", "without a tensor", "with another shape", "with one too many"])
def test_parameters_that_do_not_fit_are_refused(broken: str) -> None:
    tensors = dict(TorchLearner(MIXED, wide, SMALL).parameters())
    if broken == "without settings":
        del tensors["settings"]
    elif broken == "without a tensor":
        del tensors["module.output.bias"]
    elif broken == "with another shape":
        tensors["module.output.bias"] = np.zeros(2, np.float32)
    else:
        tensors["module.more"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"settings|module"):
        serving(wide)("torch-module/1", MIXED, tensors)


def with_constant(value: float, dtype: torch.dtype = torch.float32) -> MakeModule:
    """Return what makes a module with a constant of its own."""

    def make(schema: FeatureSchema) -> nn.Module:
        module = linear(schema)
        module.register_buffer("constant", torch.tensor([value]).to(dtype))
        return module

    return make


@pytest.mark.parametrize(
    ("make_module", "settings", "says"),
    [
        (lambda schema: nn.Sequential(nn.BatchNorm1d(2)), SMALL, "BatchNorm1d normalises by micro-batch"),
        (with_constant(float("-inf")), SMALL, "'constant' of the module is not finite"),
        (with_constant(1.0, torch.bfloat16), SMALL, "is bfloat16"),
        (with_constant(1.0, torch.complex64), SMALL, "complex64 is not allowed"),
        (lambda schema: nn.Identity(), SMALL, "no parameters"),
        (lambda schema: nn.Bilinear(2, 2, 2), SMALL, "cannot take these features"),
        (wide, replace(SMALL, optimiser="lbfgs"), "'lbfgs' is not one of sgd, "),
        (linear, replace(SMALL, parameters={"momentum": 0.5}), "'adam' with .*momentum"),
        (linear, replace(SMALL, parameters={"lr": -1.0}), "'adam' with .*lr"),
        (linear, replace(SMALL, task="classes"), "at least two actions"),
    ],
)
def test_what_cannot_be_a_learner_is_refused(make_module: MakeModule, settings: ModuleSettings, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TorchLearner(NUMERIC, make_module, settings)


def test_a_module_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gave \(1, 1\) for 1 rows, expected \(1, 3\)"):
        TorchLearner(ACTIONS, lambda schema: wide(replace(schema, actions=())), replace(SMALL, task="rewards"))


def test_a_builder_is_imported_by_its_name() -> None:
    assert load_builder(NAME) is wide


@pytest.mark.parametrize("name", ["nowhere.at.all:f", "tests.unit.learners.deep.modules:g", "wide", ":wide"])
def test_what_is_no_builder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a function that can be imported"):
        load_builder(name)
    with pytest.raises(ValueError, match=r"is not a function$"):
        load_builder("tests.unit.learners.deep.modules:not_a_function")


@pytest.mark.parametrize(("present", "devices"), [(True, ["cpu", "cuda", "cuda"]), (False, ["cpu", "cpu"])])
def test_cuda_is_used_where_it_is_asked_for_and_present(
    monkeypatch: pytest.MonkeyPatch, present: bool, devices: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    names = ["cpu", "auto", "cuda"][: len(devices)]
    assert [chosen_device(name).type for name in names] == devices
    if not present:
        with pytest.raises(ValueError, match="CUDA is not present"):
            chosen_device("cuda")
