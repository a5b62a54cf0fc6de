"""`TwoTimescale`: what a model learned, held apart into a slow core and a fast surface that decays.

The learner inside learns as ever; its parameters are the sum of both, core c and surface s:

    parameters = c + s        for a linear model: logit = logit of the core + logit of the surface

so the surface learns what the core leaves over, and a model is served as it is, with nothing to add up. In event time:

    decay          s <- s * 2^(-dt / half_life)
    consolidation  what was learned anew in `agreeing_periods` periods in a row moves from s to c, see `consolidation`

A fad that lasts fewer periods leaves next to nothing in the core, however loud it is: the time it lasts counts, not its
rows. A change that lasts is learned anew in every period, since the surface keeps losing it, and passes into the core
after `agreeing_periods` of them; in the meantime the surface answers for it, as fast as the learner inside learns.

Sources: fast weights that decay, added to slow ones (Hinton and Plaut 1987); a fast and a slow learner, of which the
slow one takes what recurs (McClelland, McNaughton and O'Reilly 1995, complementary learning systems); moving a
parameter only where all environments agree on the sign (Parascandolo et al. 2021, the AND-mask), periods of time being
the environments here, with the smallest gain instead of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.consolidation import Numbers, Past
from rheostat.learners.contract import Batch, Predictor, Tensors
from rheostat.learners.eventclock import EventClock
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.predictors import predictor
from rheostat.learners.recent import RecentRows
from rheostat.learners.surface import features_moved, surface_against_core
from rheostat.learners.wrapper_settings import TICKS_PER_HALF_LIFE, TimescaleSettings
from rheostat.learners.wrapping import Adjustable, Wrapping

_RECENT_ROWS = 256


class TwoTimescale(Wrapping[Adjustable]):
    """A learner whose parameters decay towards a core, which takes what is learned anew period after period.

    Rows whose time is not known are learned and move nothing: without any times this is the learner inside, whose core
    stays untrained. The clock is `EventClock`'s: decay waits for rows to come, as learning does.
    """

    def __init__(self, make: Callable[[], Adjustable], settings: TimescaleSettings | None = None) -> None:
        super().__init__(make)
        self._settings = settings or TimescaleSettings()
        self._clock = EventClock(self._settings.half_life_ms // TICKS_PER_HALF_LIFE)
        self._period_began: int | None = None
        self._period_rows = 0
        self._recent = RecentRows(self.schema, _RECENT_ROWS)
        self._core: dict[str, Numbers] = self._inner.learned()
        self._past = {name: Past.none(core, self._settings.agreeing_periods) for name, core in self._core.items()}

    @property
    def needs_context(self) -> bool:
        """It lives by the rows' times."""
        return True

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order; before a row with which a tick of event time passes, the surface decays."""
        check_batch(self.schema, batch)
        if not (batch.weight > 0.0).all():
            batch = select(batch, batch.weight > 0.0)
        context = batch.context or no_context(len(batch))
        learned = 0
        for row in self._clock.ticks(context.occurred_at_ms):
            self._learn(select(batch, slice(learned, row)))
            self._decay()
            learned = row
        self._learn(select(batch, slice(learned, None)))

    def core(self) -> Predictor:
        """Return what scores with the core alone."""
        # Every array of the core is replaced, never written over, so none needs to be copied.
        return predictor(self.kind, self.schema, {**self.parameters(), **self._core}, copy=False)

    def metrics(self) -> Mapping[str, float]:
        """Return how far the surface moves the logits of the last rows ("surface_against_core"), on average."""
        gap = surface_against_core(self._inner, self.core(), self._recent.rows)
        return {**super().metrics(), "surface_against_core": gap}

    def features_moved(self) -> dict[str, float]:
        """Return through which features the surface moves the logits of the last rows, see `surface`."""
        return features_moved(self._inner, self.core(), self.schema, self._recent.rows)

    def forget(self, batch: Batch) -> int:
        """Erase all kept rows that have the features of one of these, and return how many; what was learned stays."""
        return self._recent.forget(batch) + super().forget(batch)

    def _learn(self, batch: Batch) -> None:
        self._inner.learn(batch)
        self._recent.add(batch)
        self._period_rows += len(batch)

    def _decay(self) -> None:
        """Let one tick pass, and with it the period where it is long enough."""
        assert self._clock.tick is not None
        left = 2.0 ** (-1.0 / TICKS_PER_HALF_LIFE)
        learned = {name: _shrunk(each, self._core[name], left) for name, each in self._inner.learned().items()}
        self._inner.adjust(learned)
        self._past = {name: past.decayed(left) for name, past in self._past.items()}
        if self._period_began is None:
            self._period_began = self._clock.tick - 1
        lasted_ms = (self._clock.tick - self._period_began) * self._clock.tick_ms
        if lasted_ms >= self._settings.period_ms and self._period_rows >= self._settings.period_rows_min:
            self._consolidate(learned)
            self._period_began, self._period_rows = self._clock.tick, 0

    def _consolidate(self, learned: Mapping[str, Numbers]) -> None:
        for name, each in learned.items():
            surface = each - self._core[name]
            moved, self._past[name] = self._past[name].period_ended(surface, self._settings.lost_per_period)
            self._core[name] = self._core[name] + moved

    def _untrained(self) -> TwoTimescale:
        return TwoTimescale(self._make, self._settings)

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        clock = [*(-1 if each is None else each for each in (self._clock.tick, self._period_began)), self._period_rows]
        held: dict[str, NDArray[np.generic]] = {
            "clock": np.array(clock, np.int64),
            "settings": settings_tensor(asdict(self._settings)),
            **self._recent.tensors(),
        }
        for name, core in self._core.items():
            held[f"core.{name}"] = core.copy()
            held |= self._past[name].tensors(name)
        return held

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        *clock, self._period_rows = take(tensors, "clock", np.int64, (3,)).tolist()
        self._clock.tick, self._period_began = (None if each < 0 else each for each in clock)
        self._recent.restore(tensors)
        for name, core in self._core.items():
            self._core[name] = take(tensors, f"core.{name}", core.dtype.type, core.shape).copy()
            self._past[name] = self._past[name].taken(tensors, name)


def _shrunk(learned: Numbers, core: Numbers, left: float) -> Numbers:
    shrunk: Numbers = core + (learned - core) * core.dtype.type(left)
    return shrunk
