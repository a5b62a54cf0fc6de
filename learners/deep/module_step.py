"""One step of any optimiser of torch on any module, undone where it explodes; and their state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_, get_total_norm

from rheostat.learners.deep.served import MODULE
from rheostat.learners.predictors import PARAMETER_MAX

OPTIMISERS: Final[Mapping[str, type[optim.Optimizer]]] = {
    "sgd": optim.SGD,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "adam": optim.Adam,
    "adamax": optim.Adamax,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "rmsprop": optim.RMSprop,
}
"""Those that make a step from one gradient, and whose state is tensors."""

_OPTIMISER = "optimiser."


class Steps:
    """Steps of an optimiser on the parameters of a module."""

    def __init__(self, module: nn.Module, optimiser: str, parameters: Mapping[str, Any], gradient_norm_max: float):
        """Raise ValueError for an unknown optimiser or arguments it does not take."""
        if optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser {optimiser!r} is not one of {', '.join(OPTIMISERS)}")
        self._module = module
        self._gradient_norm_max = gradient_norm_max
        self._names = [name for name, _ in module.named_parameters()]
        try:
            self._optimiser = OPTIMISERS[optimiser](list(module.parameters()), **parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimiser {optimiser!r} with {dict(parameters)}: {error}") from error

    def make(self, backward: Callable[[], None]) -> bool:
        """Make a step by the gradient that `backward` leaves with the parameters; return whether it was made.

        It is undone where something is not finite.
        """
        before = {name: tensor.clone() for name, tensor in self.state().items()}
        self._optimiser.zero_grad()
        backward()
        if math.isfinite(float(clip_grad_norm_(self._module.parameters(), self._gradient_norm_max))):
            self._optimiser.step()
            if self._sound():
                return True
        self.put(before)
        return False

    def _sound(self) -> bool:
        """Whether everything is finite: a norm is not if one of its terms is not, and NaN passes no comparison."""
        numbers = [tensor for tensor in self.state().values() if tensor.is_floating_point()]
        length = float(get_total_norm(each.detach() for each in self._module.parameters()))
        return length <= PARAMETER_MAX and math.isfinite(float(get_total_norm(numbers)))

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of the module and of the optimiser by name; not copies."""
        found = {f"{MODULE}{name}": tensor for name, tensor in self._module.state_dict().items()}
        for number, slots in self._optimiser.state_dict()["state"].items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    found[f"{_OPTIMISER}{self._names[number]}.{slot}"] = value
        return found

    def put(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state; ValueError for tensors that are not the module's. They may be kept: give copies."""
        module = {name.removeprefix(MODULE): each for name, each in state.items() if name.startswith(MODULE)}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith(_OPTIMISER):
                parameter, _, slot = name.removeprefix(_OPTIMISER).rpartition(".")
                if parameter not in self._names:
                    raise ValueError(f"tensor {name!r} is of no parameter of the module")
                slots.setdefault(self._names.index(parameter), {})[slot] = tensor
        try:
            self._module.load_state_dict(module)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": slots, "param_groups": groups})
