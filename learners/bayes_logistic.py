"""`BayesLogistic`: Bayesian logistic regression over a basis that bends and crosses features, in numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.basis import Basis, make_basis
from rheostat.learners.bayes_served import BAYES_LOGISTIC, BayesPredictor
from rheostat.learners.category_odds import CategoryOdds
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.growing import GrowingBatches
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.one_thread import one_thread
from rheostat.learners.posterior import Posterior
from rheostat.learners.predictors import PARAMETER_MAX
from rheostat.learners.running_scale import RunningScale

SHARE = 16
"""A micro-batch has a row for every so many learned before it."""
INTERCEPT_PRECISION = 0.01
"""The mean of all labels may be anything: a deviation of 10 in log-odds."""


@dataclass(frozen=True, slots=True)
class BayesSettings:
    """How the model is built and learns. The defaults are meant for any stream.

    batch_rows: the most rows of one step; the first have 8. memory_rows: how long a row counts, see `posterior`.
    precision: of every weight before the first row; 2 expects weights of about 0.7 in log-odds. See `basis` for the
    rest: steps for each number; how many waves, through how many inputs each, how narrow, and what all of them together
    are worth in log-odds at precision 1 (amplitude); bins for each category. table_bits: 2**table_bits categories and
    pairs of them are counted; pairs_max: pairs of categorical features that are.
    weight_max: larger weights count as this. signed_log: see `scaling`; input_clip in standard deviations. seed: of
    the waves.
    """

    batch_rows: int = 256
    memory_rows: float = 5_000.0
    precision: float = 2.0
    steps: int = 16
    waves: int = 64
    wave_inputs: int = 3
    wave_scales: tuple[float, ...] = (0.7, 1.4, 2.8)
    amplitude: float = 4.0
    bins: int = 16
    table_bits: int = 16
    pairs_max: int = 28
    signed_log: bool = True
    input_clip: float = 5.0
    weight_max: float = 10.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.table_bits <= 24 or min(self.steps, self.waves, self.bins, self.pairs_max) < 0:
            raise ValueError("need table_bits in [0, 24], and steps, waves, bins and pairs_max of at least 0")
        if not (self.precision > 0.0 and self.weight_max > 0.0 and self.wave_inputs >= 1 and self.wave_scales):
            raise ValueError("need precision > 0, weight_max > 0, wave_inputs >= 1, and a wave scale")


class BayesLogistic:
    """Logistic regression whose weights are known up to a normal distribution, over `basis` and `category_odds`.

    Row of weight w counts as w rows, as far as one step goes; weight 0 is not seen at all. The scale counts every row
    once. A step after which a weight is not finite, or above `PARAMETER_MAX`, is not made, and counted.
    """

    kind = BAYES_LOGISTIC

    def __init__(self, schema: FeatureSchema, settings: BayesSettings | None = None) -> None:
        self._schema = schema
        self._settings = chosen = settings or BayesSettings()
        self._pending = GrowingBatches(schema, chosen.batch_rows, SHARE)
        self._scale = RunningScale(len(schema.numeric), chosen.signed_log, chosen.input_clip)
        self._odds = CategoryOdds.empty(schema, chosen.table_bits, chosen.pairs_max)
        self._basis = make_basis(
            schema,
            len(schema.numeric) + len(schema.categorical) + len(self._odds.pairs),
            steps=chosen.steps,
            waves=chosen.waves,
            bins=chosen.bins,
            lengths=chosen.wave_scales,
            mixed=chosen.wave_inputs,
            amplitude=chosen.amplitude,
            seed=chosen.seed,
        )
        prior = np.full(self._basis.columns, chosen.precision)
        prior[0] = INTERCEPT_PRECISION
        self._posterior = Posterior(prior, chosen.memory_rows)
        self._touched = np.zeros(len(self._odds.table), np.bool_)
        self._learned_rows = self._steps = self._undone = 0

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._schema

    @property
    def steps_undone(self) -> int:
        """How many steps were not made because a weight exploded."""
        return self._undone

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; a step is made whenever a micro-batch is full."""
        with one_thread():
            for rows in self._pending.add(batch):
                self._step(rows)

    def flush(self) -> None:
        """Make a last, smaller step from the rows that wait."""
        with one_thread():
            for rows in self._pending.drain():
                self._step(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label, float64 (rows,); waiting rows have no part in it."""
        served = BayesPredictor(self._schema, self._scale.frozen(), self._odds, self._basis, self._posterior.mean)
        with one_thread():
            return served.predict(batch)

    def touched_rows(self) -> dict[str, NDArray[np.int64]]:
        """Return the rows of "odds.table" that changed since the last call (or since `restore`), rising."""
        rows = np.flatnonzero(self._touched)
        self._touched[:] = False
        return {"odds.table": rows.astype(np.int64)}

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor("bayes-logistic/1", ...)` needs."""
        table = self._odds.table.view()
        table.flags.writeable = False
        return {
            "weights": self._posterior.mean.copy(),
            "odds.table": table,
            "odds.base": self._odds.base.copy(),
            "odds.pairs": self._odds.pairs.copy(),
            **self._basis.tensors(),
            **self._scale.frozen().tensors(),
        }

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        tensors: Tensors = {
            "counters": np.array([self._learned_rows, self._steps, self._undone], np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            **self._posterior.tensors(),
            **self._odds.tensors(),
            **self._basis.tensors(),
            **self._scale.tensors(),
            **self._pending.tensors(),
        }
        return Snapshot(self.kind, self._schema.id, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema or settings, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = BayesLogistic(self._schema, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        self._learned_rows, self._steps, self._undone = take(tensors, "counters", np.int64, (3,)).tolist()
        self._posterior.restore(tensors)
        self._odds.restore(tensors)
        basis = Basis.from_tensors(tensors, self._schema, len(self._basis.waves))
        if basis.columns != self._basis.columns:
            raise ValueError(f"the basis has {basis.columns} columns, expected {self._basis.columns}")
        self._basis = basis
        self._scale.restore(tensors)
        self._pending.restore(tensors)

    def _step(self, batch: Batch) -> None:
        weight = np.minimum(batch.weight, self._settings.weight_max)
        places = self._odds.places(batch.categorical)
        scaled, odds = self._scale.update(batch.numeric), self._odds.log_odds(places)
        self._learned_rows += len(batch)
        with np.errstate(all="ignore"):
            columns = self._basis.apply(scaled, odds, batch.categorical)
            made = self._posterior.learn(columns, batch.label, weight, PARAMETER_MAX)
        self._touched[self._odds.count(places, batch.label, weight)] = True
        self._steps += made
        self._undone += not made
