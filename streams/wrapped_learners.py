"""What a model's configuration puts around its learner: an anchor, two timescales, replay, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from rheostat.learners.anchor import Anchored
from rheostat.learners.contract import Learner
from rheostat.learners.replay_buffer import Replaying
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapping import Adjustable
from rheostat.streams.config import ModelConfig
from rheostat.streams.errors import ConfigError

Make = Callable[[], Learner]


def wrapped(config: ModelConfig, make: Make) -> Make:
    """Return what makes learners with everything around them: the anchor next to them, then timescales, then replay.

    Weights are outermost: a row that is learned again counts what it counted when it came. Raises ConfigError for a
    learner whose parameters cannot be moved, and for settings out of range.
    """
    if not any((config.anchor, config.timescales, config.replay, config.reweighting)):
        return make
    try:
        around = _reweighted(config, _replaying(config, _slow_and_fast(config, _anchored(config, make))))
        around()
    except ValueError as error:
        raise ConfigError(f"what is around the learner {config.learner!r}: {error}") from error
    return around


def _anchored(config: ModelConfig, make: Make) -> Make:
    if (settings := config.anchor) is None:
        return make
    adjustable = _adjustable("anchor", make)
    return lambda: Anchored(adjustable, settings)


def _slow_and_fast(config: ModelConfig, make: Make) -> Make:
    if (settings := config.timescales) is None:
        return make
    adjustable = _adjustable("timescales", make)
    return lambda: TwoTimescale(adjustable, settings)


def _replaying(config: ModelConfig, make: Make) -> Make:
    if (settings := config.replay) is None:
        return make
    return lambda: Replaying(make, settings)


def _reweighted(config: ModelConfig, make: Make) -> Make:
    if (settings := config.reweighting) is None:
        return make
    from rheostat.learners.reweighted import Reweighted  # Compiled when it is imported: only where it is wanted.

    return lambda: Reweighted(make, settings)


def _adjustable(setting: str, make: Make) -> Callable[[], Adjustable]:
    if not isinstance(found := make(), Adjustable):
        raise ValueError(f"{setting}: the parameters of a learner of kind {found.kind!r} cannot be moved from outside")
    return cast(Callable[[], Adjustable], make)
