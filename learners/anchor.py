"""`Anchored`: what a learner learned is pulled back to an anchor, such as the last version that was promoted.

The pull is the flow of the penalty sum_i F_i (p_i - a_i)^2 over the parameters p towards the anchor a, beside the
learner's own steps (decoupled, as Loshchilov and Hutter 2019 decay weights), solved exactly, so that no strength
is too large:

    p_i <- a_i + (p_i - a_i) * 2^(-F_i * rows / half_life_rows)

F is 1 (L2), or with `elastic` the diagonal of the Fisher information at the anchor (EWC, Kirkpatrick et al. 2017): what
the anchor's predictions depend on is held, the rest is free. It is the model's own Fisher information, the labels
averaged out under the model, not the squares of observed gradients (Kunstner, Balles and Hennig 2019), over the last
rows learned before the anchor was set, relative to its mean over the parameters that these rows depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Tensors
from rheostat.learners.eventclock import EventClock
from rheostat.learners.features import check_batch, no_context, select
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.recent import RecentRows
from rheostat.learners.wrapper_settings import AnchorSettings
from rheostat.learners.wrapping import Adjustable, Wrapping

Numbers = NDArray[np.floating]

_RECENT_ROWS = 512


@runtime_checkable
class KnowsFisher(Protocol):
    """What an adjustable learner does besides, to be anchored elastically."""

    def fisher(self, batch: Batch) -> dict[str, Numbers]:
        """Return the mean over rows, at least one, of p (1 - p) (d logit / d parameter)^2, p the score.

        Named and shaped as in `Adjustable.learned`; labels and weights are ignored.
        """
        ...


class Anchored(Wrapping[Adjustable]):
    """A learner held to an anchor; until one is set, to its untrained state."""

    def __init__(self, make: Callable[[], Adjustable], settings: AnchorSettings | None = None) -> None:
        super().__init__(make)
        self._settings = settings or AnchorSettings()
        if self._settings.elastic and not isinstance(self._inner, KnowsFisher):
            raise ValueError(f"a learner of kind {self.kind!r} knows no Fisher information: it has no elastic anchor")
        self._rows = 0
        self._clock = EventClock(self._settings.renew_ms or 1)
        self._recent = RecentRows(self.schema, _RECENT_ROWS)
        self._anchor: dict[str, Numbers] = self._inner.learned()
        self._hold = {name: np.ones_like(each) for name, each in self._anchor.items()}

    @property
    def needs_context(self) -> bool:
        """It needs the rows' times to renew its anchor by itself."""
        return self._settings.renew_ms is not None or super().needs_context

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order, with a pull after every `every_rows` of them."""
        check_batch(self.schema, batch)
        if not (batch.weight > 0.0).all():
            batch = select(batch, batch.weight > 0.0)
        learned = 0
        if self._settings.renew_ms is not None:
            for row in self._clock.ticks((batch.context or no_context(len(batch))).occurred_at_ms):
                self._learn(select(batch, slice(learned, row)))
                self.anchor()
                learned = row
        self._learn(select(batch, slice(learned, None)))

    def learned(self) -> dict[str, Numbers]:
        """Return the parameters that learning moves, see `wrapping.Adjustable`."""
        return self._inner.learned()

    def adjust(self, learned: Tensors) -> None:
        """Take these for what was learned; the anchor stays."""
        self._inner.adjust(learned)

    def anchor(self, parameters: Tensors | None = None) -> None:
        """Hold from now on to these parameters (a version's `parameters`), or to those learned so far.

        Raises ValueError, and changes nothing, for parameters that do not fit.
        """
        own = self._inner.learned()
        if parameters is not None:
            own = {name: take(parameters, name, each.dtype.type, each.shape).copy() for name, each in own.items()}
        self._hold = self._fisher(own) if self._settings.elastic else self._hold
        self._anchor = own

    def forget(self, batch: Batch) -> int:
        """Erase all kept rows that have the features of one of these, and return how many; what was learned stays."""
        return self._recent.forget(batch) + super().forget(batch)

    def _fisher(self, anchor: dict[str, Numbers]) -> dict[str, Numbers]:
        """Return the Fisher information at the anchor, 1 on average where it is not 0; 1 while no row was learned."""
        if not len(self._recent.rows):
            return {name: np.ones_like(each) for name, each in anchor.items()}
        at_anchor = self._make()
        at_anchor.restore(self._inner.snapshot())
        at_anchor.adjust(anchor)
        assert isinstance(at_anchor, KnowsFisher)
        found = at_anchor.fisher(self._recent.rows)
        positive = np.concatenate([each[each > 0.0].ravel().astype(np.float64) for each in found.values()])
        mean = float(positive.mean()) if len(positive) else 1.0
        return {name: (each / mean).astype(each.dtype) for name, each in found.items()}

    def _learn(self, batch: Batch) -> None:
        learned = 0
        while (end := learned + self._settings.every_rows - self._rows) <= len(batch):
            self._inner.learn(select(batch, slice(learned, end)))
            self._pull()
            learned, self._rows = end, 0
        rest = select(batch, slice(learned, None))
        self._inner.learn(rest)
        self._rows += len(rest)
        self._recent.add(batch)

    def _pull(self) -> None:
        part = self._settings.every_rows / self._settings.half_life_rows
        pulled: dict[str, Numbers] = {}
        for name, each in self._inner.learned().items():
            anchor, hold = self._anchor[name], self._hold[name]
            pulled[name] = anchor + (each - anchor) * np.exp2(-part * hold).astype(each.dtype)
        self._inner.adjust(pulled)

    def _untrained(self) -> Anchored:
        return Anchored(self._make, self._settings)

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        tick = -1 if self._clock.tick is None else self._clock.tick
        return {
            "settings": settings_tensor(asdict(self._settings)),
            "counters": np.array([self._rows, tick], np.int64),
            **{f"anchor.{name}": each.copy() for name, each in self._anchor.items()},
            **{f"hold.{name}": each.copy() for name, each in self._hold.items() if self._settings.elastic},
            **self._recent.tensors(),
        }

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, asdict(self._settings))
        self._rows, tick = take(tensors, "counters", np.int64, (2,)).tolist()
        self._clock.tick = None if tick < 0 else tick
        self._recent.restore(tensors)
        for name, each in self._anchor.items():
            self._anchor[name] = take(tensors, f"anchor.{name}", each.dtype.type, each.shape).copy()
            if self._settings.elastic:
                self._hold[name] = take(tensors, f"hold.{name}", each.dtype.type, each.shape).copy()
