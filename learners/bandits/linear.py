"""`LinearBandit`: learns the reward of each action by Bayesian linear regression, and publishes how to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.bandits.evidence import Evidence, Rows
from rheostat.learners.bandits.inputs import input_columns, model_inputs
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.bandits.posterior import Beliefs, Posterior
from rheostat.learners.bandits.served import LINEAR_BANDIT, BanditPredictor, check_size
from rheostat.learners.contract import Batch, Context, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.eventclock import UNKNOWN_MS, EventClock
from rheostat.learners.features import check_batch, select
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher

TICKS = 16
"""Forgetting goes on in steps of this part of a half-life."""


@dataclass(frozen=True, slots=True)
class BanditSettings:
    """How a bandit learns.

    ridge: how many rows of weight 1 the prior is worth. half_life_ms: event time after which a row counts half; None:
    nothing is forgotten. weight_max: larger weights count as this. batch_rows: rows that are summed at once, which
    changes nothing but rounding.
    """

    ridge: float = 1.0
    half_life_ms: int | None = None
    categorical_bins: int = 16
    weight_max: float = 10.0
    batch_rows: int = 256

    def __post_init__(self) -> None:
        if not 1e-3 <= self.ridge <= 1e6:
            raise ValueError(f"ridge: {self.ridge} is not in [0.001, 1000000]")
        if self.half_life_ms is not None and self.half_life_ms < TICKS:
            raise ValueError(f"half_life_ms: {self.half_life_ms} is below {TICKS}")
        if self.categorical_bins < 1:
            raise ValueError(f"categorical_bins: {self.categorical_bins} is below 1")


class LinearBandit:
    """Expected rewards, linear in the inputs (see `inputs`), apart for each action of the schema.

    An action is learned from the rows in which it was chosen, whatever the rule of choice was: with the features given,
    the choice says nothing about the reward, so propensities are not needed here; they are logged for estimates.
    Rows without a known action are counted and left out. Labels are rewards.
    """

    kind = LINEAR_BANDIT
    needs_context = True

    def __init__(
        self, schema: FeatureSchema, policy: Policy | None = None, settings: BanditSettings | None = None
    ) -> None:
        self._schema = schema
        self._policy = policy or Policy()
        self._settings = settings or BanditSettings()
        check_size(schema, self._settings.categorical_bins)
        self._policy.check_actions(len(schema.actions))
        shape = len(schema.actions), input_columns(schema, self._settings.categorical_bins)
        self._pending = MicroBatcher(schema, self._settings.batch_rows, context=True)
        self._evidence = Evidence(*shape)
        self._beliefs = Beliefs(len(schema.numeric), *shape, self._settings.ridge)
        half_life_ms = self._settings.half_life_ms
        self._clock = None if half_life_ms is None else EventClock(half_life_ms // TICKS)
        self._posterior: Posterior | None = None
        self._learned_rows = self._without_action = self._not_taken_back = 0

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes, and the actions."""
        return self._schema

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; ValueError without context, and for an action that the schema does not have."""
        self._check(batch)
        for rows in self._pending.add(batch):
            self._add(rows)

    def flush(self) -> None:
        """Add the rows that wait."""
        for rows in self._pending.drain():
            self._add(rows)

    def unlearn(self, batch: Batch) -> None:
        """Take back rows as they were learned, to rounding, see `contract.Unlearns`.

        With a half-life a row is taken back as what time has left of it; a row that came while the clock had still to
        catch up after a silence has been forgotten a little longer than that. Of an action whose sums show that not
        all of its rows here were learned, none is taken back; they are counted (`metrics`).
        """
        context = self._check(batch)
        self.flush()
        known = select(batch, (context.action >= 0) & (batch.weight > 0.0))
        rows = self._rows(known)
        actions = self._evidence.take_back(rows)
        self._changed(actions)
        taken = int(np.isin(rows.action, actions).sum())
        self._learned_rows -= taken
        self._not_taken_back += len(known) - taken

    def predict(self, batch: Batch) -> Floats:
        """Return the expected reward of the action in the batch's context, of the best action without; (rows,)."""
        return self._predictor().predict(batch)

    def choices(self, batch: Batch) -> Floats:
        """Return the expected reward (rows, actions) of every action, in [0, 1]."""
        return self._predictor().choices(batch)

    def uncertainty(self, batch: Batch) -> Floats:
        """Return the standard deviation (rows, actions) of the expected reward of every action."""
        return self._predictor().uncertainty(batch)

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor("linear-bandit/1", ...)` needs."""
        return {
            "bins": np.array([self._settings.categorical_bins], np.uint64),
            **self._believed().tensors(),
            **self._policy.tensors(),
        }

    def metrics(self) -> Mapping[str, float]:
        """Return how many rows were learned, had no known action, and were to be taken back but were not there."""
        return {
            "bandit_rows": float(self._learned_rows),
            "bandit_rows_without_action": float(self._without_action),
            "bandit_rows_not_taken_back": float(self._not_taken_back),
        }

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait."""
        tick = -1 if self._clock is None or self._clock.tick is None else self._clock.tick
        tensors: dict[str, NDArray[np.generic]] = {
            "counters": np.array([self._learned_rows, self._without_action, self._not_taken_back, tick], np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            "actions": settings_tensor({"actions": self._schema.actions}),
            **self._evidence.tensors(),
            **self._pending.tensors(),
        }
        return Snapshot(self.kind, self._schema.id, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema, actions or settings, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = LinearBandit(self._schema, self._policy, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        actions = settings_tensor({"actions": self._schema.actions})
        if not np.array_equal(take(tensors, "actions", np.uint8, actions.shape), actions):
            raise ValueError(f"snapshot is of other actions than {', '.join(self._schema.actions)}")
        counters = take(tensors, "counters", np.int64, (4,)).tolist()
        self._learned_rows, self._without_action, self._not_taken_back, tick = counters
        if self._clock is not None and tick >= 0:
            self._clock.tick = tick
        self._evidence.restore(tensors)
        self._pending.restore(tensors)

    def _check(self, batch: Batch) -> Context:
        check_batch(self._schema, batch)
        if batch.context is None:
            raise ValueError(f"a learner of kind {self.kind} needs the context of a batch: which action was chosen")
        if (batch.context.action >= len(self._schema.actions)).any():
            raise ValueError(f"an action is not one of the {len(self._schema.actions)} of {self._schema.id!r}")
        return batch.context

    def _changed(self, actions: NDArray[np.int64] | slice) -> None:
        self._beliefs.stale(actions)
        self._posterior = None

    def _believed(self) -> Posterior:
        if self._posterior is None:
            self._posterior = self._beliefs.posterior(self._evidence)
        return self._posterior

    def _predictor(self) -> BanditPredictor:
        return BanditPredictor(self._schema, self._settings.categorical_bins, self._believed(), self._policy)

    def _add(self, batch: Batch) -> None:
        assert batch.context is not None
        self._pass_time(batch)
        known = batch.context.action >= 0
        rows = batch if known.all() else select(batch, known)
        self._learned_rows += len(rows)
        self._without_action += len(batch) - len(rows)
        self._changed(self._evidence.add(self._rows(rows)))

    def _rows(self, batch: Batch) -> Rows:
        assert batch.context is not None
        weight = np.minimum(batch.weight, self._settings.weight_max)
        if self._clock is not None and self._clock.tick is not None:
            times_ms = batch.context.occurred_at_ms
            late = np.minimum(times_ms // self._clock.tick_ms - self._clock.tick, 0)
            weight = weight * np.exp2(np.where(times_ms > UNKNOWN_MS, late, 0) / TICKS)
        inputs = model_inputs(self._schema, batch, self._settings.categorical_bins)
        return Rows(inputs, batch.context.action, weight, batch.label)

    def _pass_time(self, batch: Batch) -> None:
        if self._clock is None:
            return
        assert batch.context is not None
        ticks = sum(1 for _ in self._clock.ticks(batch.context.occurred_at_ms))
        if ticks:
            self._evidence.age(2.0 ** (-ticks / TICKS))
            self._changed(slice(None))
