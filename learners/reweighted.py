"""`Reweighted`: rows count by how rarely they were chosen, and no stratum counts for more than a stated share.

**Propensities.** What a model showed is what it learns from. A row that was chosen with probability p stands for 1 / p
of them (inverse propensity scoring, see `importance`): with weights w / max(p, floor) a model learns what it would have
learned had everything been shown alike. Self-normalised: the factor is divided by its mean over the rows in memory, the
row itself included, so that rows count as much as without, on average; a row whose propensity was not logged counts its
own weight.

**Strata.** Where a segment sends nearly all of the rows, a model is fitted to it alone. Rows are multiplied so that no
stratum has more than `stratum_share_max` of what the rows in memory count together: what a loud one has above that goes
to the others (Horvitz and Thompson weights for a stated design in place of sampling: no row is thrown away). A model
balanced so gives probabilities for the mixture it was taught, not for the traffic as it comes: give it the segment as a
feature, or calibrate it, where that matters.

Memory is a decay per row: n rows ago counts (1 - 1 / memory_rows)^n. So what a row counts follows from the rows before
it and not from how they were handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Learner, Tensors
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.importance import importance_weights
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.reweigh_rows import ROWS_PRESENT, reweigh
from rheostat.learners.wrapper_settings import ReweightingSettings
from rheostat.learners.wrapping import Wrapping


class Reweighted(Wrapping[Learner]):
    """A learner whose rows are weighed by propensity and by stratum; without either it is the learner inside.

    What a row counts is bounded by `weight_max` of the learner inside, which is worth looking at for small floors.
    """

    def __init__(self, make: Callable[[], Learner], settings: ReweightingSettings | None = None) -> None:
        super().__init__(make)
        self._settings = settings or ReweightingSettings()
        places = self._settings.strata_max
        self._factors = np.zeros(2)
        self._keys = np.zeros(places, np.uint64)
        self._rows, self._influence = np.zeros(places), np.zeros(places)

    @property
    def needs_context(self) -> bool:
        """It lives by propensities and strata."""
        return True

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order, each with what it counts."""
        check_batch(self.schema, batch)
        if not (batch.weight > 0.0).all():
            batch = select(batch, batch.weight > 0.0)
        self._inner.learn(replace(batch, weight=self._counted(batch)))

    def metrics(self) -> Mapping[str, float]:
        """Return what a logged propensity multiplies by on average, and the loudest stratum's share before balancing.

        "propensity_factor_mean" is 1 without propensities; "stratum_share_loudest" 0 before there are strata.
        """
        present = self._influence[self._rows >= ROWS_PRESENT]
        loudest = float(present.max() / present.sum()) if len(present) and present.sum() > 0.0 else 0.0
        mean = float(self._factors[0] / self._factors[1]) if self._factors[1] > 0.0 else 1.0
        return {**super().metrics(), "propensity_factor_mean": mean, "stratum_share_loudest": loudest}

    def _counted(self, batch: Batch) -> NDArray[np.float64]:
        """Return what the rows, none of weight 0, count; they are in memory then."""
        chosen, context = self._settings, batch.context or no_context(len(batch))
        found = np.empty(len(batch))
        reweigh(
            np.ascontiguousarray(batch.weight),
            importance_weights(context.propensity, np.ones(len(batch)), chosen.propensity_floor),
            np.ascontiguousarray(context.stratum),
            1.0 - 1.0 / chosen.memory_rows, chosen.self_normalised, chosen.stratum_share_max, chosen.stratum_factor_max,
            self._factors, self._keys, self._rows, self._influence, found,
        )  # fmt: skip
        return found

    def _untrained(self) -> Reweighted:
        return Reweighted(self._make, self._settings)

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        return {
            "settings": settings_tensor(asdict(self._settings)),
            "factors": self._factors.copy(),
            "strata": self._keys.copy(),
            "strata.rows": self._rows.copy(),
            "strata.influence": self._influence.copy(),
        }

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        places = (self._settings.strata_max,)
        self._factors = take(tensors, "factors", np.float64, (2,)).copy()
        self._keys = take(tensors, "strata", np.uint64, places).copy()
        self._rows = take(tensors, "strata.rows", np.float64, places).copy()
        self._influence = take(tensors, "strata.influence", np.float64, places).copy()
