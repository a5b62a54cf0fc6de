"""`Replaying`: earlier rows are learned again beside new ones, as many of every stratum, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Learner, Tensors
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.reservoir import StratifiedReservoir
from rheostat.learners.rows import joined
from rheostat.learners.wrapper_settings import ReplaySettings
from rheostat.learners.wrapping import Wrapping


class Replaying(Wrapping[Learner]):
    """A learner that learns new rows and then, `ratio` times as many, drawn from a sample of those it learned before.

    Strata take turns in the draws, so that a stratum of few rows is learned again as often as one of many. Without
    strata (`Context.stratum`) all rows are one.
    """

    def __init__(self, make: Callable[[], Learner], settings: ReplaySettings | None = None) -> None:
        super().__init__(make)
        self._settings = chosen = settings or ReplaySettings()
        self._pending = MicroBatcher(self.schema, chosen.batch_rows, context=True)
        self._sample = StratifiedReservoir(
            self.schema, chosen.rows_per_stratum, chosen.strata_max, chosen.seed, chosen.horizon_rows
        )
        self._learned = self._drawn = 0

    @property
    def needs_context(self) -> bool:
        """It goes by the rows' strata."""
        return True

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; whenever `batch_rows` rows are there, they and some earlier ones are learned."""
        for rows in self._pending.add(batch):
            self._learn(rows)

    def flush(self) -> None:
        """Learn from the rows that wait, and the earlier ones that go with them."""
        for rows in self._pending.drain():
            self._learn(rows)
        self._inner.flush()

    def forget(self, batch: Batch) -> int:
        """Erase all rows with the features of one of these; `flush` first, for rows that wait are not looked at."""
        return self._sample.forget(batch) + super().forget(batch)

    def _learn(self, rows: Batch) -> None:
        self._learned += len(rows)
        owed = int(self._learned * self._settings.ratio) - self._drawn
        again = self._sample.draw(self._drawn, owed)
        self._drawn += owed
        self._inner.learn(joined(rows, replace(again, weight=again.weight * self._settings.weight)))
        self._sample.add(rows)

    def _untrained(self) -> Replaying:
        return Replaying(self._make, self._settings)

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        return {
            "settings": settings_tensor(asdict(self._settings)),
            "counters": np.array([self._learned, self._drawn], np.int64),
            **self._pending.tensors(),
            **self._sample.tensors(),
        }

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        self._learned, self._drawn = take(tensors, "counters", np.int64, (2,)).tolist()
        self._pending.restore(tensors)
        self._sample.restore(tensors)
