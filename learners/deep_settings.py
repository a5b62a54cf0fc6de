"""How the learners in torch are built and learn. Only settings, so that reading them is cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.idtable import IdSettings
from rheostat.learners.tasks import Task, check_task


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """How rewards of chosen actions are learned.

    loss: "log" fits sigmoid outputs to rewards by cross entropy, "squared" by squared error; both lead to the expected
    reward. propensity_floor: an action that was chosen with probability p counts 1 / p times, at most 1 / floor times,
    and once where p was not logged. self_normalised: these counts are scaled to a mean of 1 in each micro-batch, which
    bounds the size of a step.
    """

    loss: Literal["log", "squared"] = "log"
    propensity_floor: float = 0.05
    self_normalised: bool = False

    def __post_init__(self) -> None:
        if self.loss not in ("log", "squared") or not 0.0 < self.propensity_floor <= 1.0:
            raise ValueError('need loss "log" or "squared" of rewards, and propensity_floor in (0, 1]')


@dataclass(frozen=True, slots=True)
class DeepSettings:
    """How the network is built and learns.

    task: see `rheostat.learners.tasks`. table_bits: the table has 2**table_bits rows that ids share by their hash, each
    `dim` numbers. ids: who gets a row of his own besides; None: nobody. batch_rows: the most rows of one step; the
    first ones have 8, later ones more. memory_rows: in the sum that shortens Adagrad's steps, a squared gradient counts
    1/e as much after so many more rows, so that it goes on following changes for ever; None: as much, which is Adagrad
    proper. l2: pull towards 0, for every row learned. weight_max: larger weights count as this. seed: of the first
    parameters. memory_bytes_max: refuse to be built if the state takes more (see `state_bytes`). rewards: for that task
    alone.
    """

    table_bits: int = 16
    dim: int = 8
    hidden: int = 32
    batch_rows: int = 256
    learning_rate: float = 0.1
    memory_rows: float | None = 64_000.0
    l2: float = 0.0
    signed_log: bool = True
    input_clip: float = 5.0
    weight_max: float = 10.0
    seed: int = 1
    task: Task = "binary"
    rewards: RewardSettings = field(default_factory=RewardSettings)
    ids: IdSettings | None = None
    memory_bytes_max: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.table_bits <= 26 or self.dim < 1 or self.hidden < 1:
            raise ValueError("need table_bits in [0, 26], dim >= 1 and hidden >= 1")
        if not self.learning_rate > 0.0 or not (self.memory_rows is None or self.memory_rows > 0.0) or self.l2 < 0.0:
            raise ValueError("need learning_rate > 0, memory_rows > 0 and l2 >= 0")

    @property
    def own_rows(self) -> int:
        """How many rows of the table belong to one id each; they come first."""
        return 0 if self.ids is None else self.ids.rows

    @property
    def table_rows(self) -> int:
        """How many rows the table has."""
        return self.own_rows + (1 << self.table_bits)

    def recorded(self) -> dict[str, object]:
        """Return what a state depends on: it is recorded with it, and must be the same to go on from there."""
        told = asdict(self)
        del told["memory_bytes_max"]
        return told


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """How a module of torch is built and learns.

    builder: the function that makes it, as "package.module:function"; it takes the `FeatureSchema`. task, rewards: see
    `rheostat.learners.tasks`. category_rows: categories are given as their hash's place among so many, 0 for a missing
    one. optimiser, parameters: one of `module_step.OPTIMISERS`, and its arguments. gradient_norm_max: a longer gradient
    is shortened to this. device: "auto" is CUDA where it is present, and the CPU elsewhere; it is no part of a state.
    batch_rows: one step per this many rows. weight_max, signed_log, input_clip, seed: as of `DeepSettings`.
    """

    builder: str
    task: Task = "binary"
    rewards: RewardSettings = field(default_factory=RewardSettings)
    category_rows: int = 1 << 16
    optimiser: str = "adam"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gradient_norm_max: float = 10.0
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    batch_rows: int = 64
    weight_max: float = 10.0
    signed_log: bool = True
    input_clip: float = 5.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.category_rows <= 1 << 31 or not self.gradient_norm_max > 0.0:
            raise ValueError("need category_rows in [2, 2**31] and gradient_norm_max > 0")

    def recorded(self) -> dict[str, object]:
        """Return what a state depends on: it is recorded with it, and must be the same to go on from there."""
        told = asdict(self)
        del told["device"]
        return told


def check_settings_for(schema: FeatureSchema, settings: DeepSettings, dense: int) -> None:
    """Raise ValueError unless the settings suit the features and a state with so many dense numbers fits the bound."""
    check_task(settings.task, schema)
    if settings.task != "rewards" and settings.rewards != RewardSettings():
        raise ValueError(f'settings of rewards are for task "rewards", not {settings.task!r}')
    needed, allowed = state_bytes(settings, dense), settings.memory_bytes_max
    if allowed is not None and needed > allowed:
        raise ValueError(
            f"the learner needs {needed:,} bytes, memory_bytes_max is {allowed:,}: lower table_bits "
            f"({settings.table_bits}), dim ({settings.dim})" + ("" if settings.ids is None else ", or the sizes of ids")
        )


def state_bytes(settings: DeepSettings, dense: int) -> int:
    """Return how many bytes the table, the layers of `dense` numbers, the optimiser and the ids take, and no more ever.

    A step needs a little more while it is made, by its rows. A snapshot, while it is being written, takes about as much
    again, and so does what a learner publishes a delta from.
    """
    table = settings.table_rows * (2 * 4 * settings.dim + 1)
    return table + 2 * 4 * dense + (0 if settings.ids is None else settings.ids.memory_bytes)
